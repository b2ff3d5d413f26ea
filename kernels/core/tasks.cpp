#include "core/tasks.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <system_error>
#include <thread>

namespace zeus {

void run_tasks(std::int64_t count, int threads, void (*body)(const void*, std::int64_t, int),
               const void* context) {
  std::atomic<std::int64_t> next{0};
  const auto work = [&](int lane) {
    for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < count;)
      body(context, task, lane);
  };
  std::array<std::thread, kMostThreads> crew;
  const int wanted = int(std::clamp<std::int64_t>(std::min<std::int64_t>(threads, count), 1, kMostThreads));
  int started = 0;
  try {
    for (; started + 1 < wanted; ++started) crew[started] = std::thread(work, started + 1);
  } catch (const std::system_error&) {  // fewer threads, same work
  }
  work(0);
  for (int n = 0; n < started; ++n) crew[n].join();
}

}  // namespace zeus
