// Spread independent tasks over threads.
#pragma once

#include <cstdint>

namespace zeus {

constexpr int kMostThreads = 256;

// Calls body(context, task, lane) once for every task in [0, count). `lane` is below `threads` and no two
// calls share a lane at the same time, so it picks a thread's scratch. Bodies must not throw. The calling
// thread works too; where the system refuses a thread, the others do its work.
void run_tasks(std::int64_t count, int threads,
               void (*body)(const void* context, std::int64_t task, int lane), const void* context);

}  // namespace zeus
