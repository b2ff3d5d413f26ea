// Runs the entry points of cuda.cu on a CPU: its text, with CUDA's words given a meaning.
//
// A few threads of the CPU share the threads of a launch in turn, so neighbours run at the same time. Threads
// of a block that wait for each other are fibers, resumed in turn: at a wait each has reached the same one.
#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline

struct Triple {
  unsigned x, y, z;
};
static thread_local Triple threadIdx, blockIdx;
static Triple blockDim, gridDim;

enum { kDone, kBarrier, kMatch };
struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(1 << 16);
  int state;
  unsigned matches, value[2];  // two, as a neighbour may be one match ahead
};
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static void (*body)();

static void wait_as(int state) {
  fibers.at(threadIdx.x).state = state;
  const unsigned self = threadIdx.x;
  swapcontext(&fibers[self].context, &scheduler);
}
static void __syncthreads() {
  wait_as(kBarrier);
}
static unsigned __match_all_sync(unsigned, unsigned value, int* same) {
  Fiber& self = fibers.at(threadIdx.x);
  const unsigned slot = self.matches++ % 2, first = threadIdx.x / 32 * 32;
  self.value[slot] = value;
  wait_as(kMatch);
  *same = 1;
  for (unsigned n = first; n < first + 32; ++n) *same &= fibers[n].value[slot] == value;
  return *same ? 0xffffffffu : 0;
}
template <class T>
static T atomicAdd(T* to, T value) {
  return __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}
template <class T>
static T atomicMax(T* to, T value) {
  T before = __atomic_load_n(to, __ATOMIC_RELAXED);
  while (before < value &&
         !__atomic_compare_exchange_n(to, &before, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return before;
}
template <class T>
static T atomicMin(T* to, T value) {
  T before = __atomic_load_n(to, __ATOMIC_RELAXED);
  while (value < before &&
         !__atomic_compare_exchange_n(to, &before, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return before;
}

#include "cuda.cu"

template <class Kernel>
constexpr bool kWaits = false;
template <class T>
constexpr bool kWaits<zeus::HistogramVoxels<T>> = true;

// False where the threads of a block wait for different things.
static bool run_fibers() {
  fibers = std::vector<Fiber>(blockDim.x);
  for (Fiber& fiber : fibers) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = &scheduler;
    fiber.matches = 0;
    makecontext(&fiber.context, body, 0);
  }
  do {
    for (unsigned n = 0; n < blockDim.x; ++n) {
      threadIdx = {n, 0, 0};
      fibers[n].state = kDone;
      swapcontext(&scheduler, &fibers[n].context);
    }
    for (const Fiber& fiber : fibers)
      if (fiber.state != fibers[0].state) return false;
  } while (fibers[0].state != kDone);
  return true;
}

constexpr unsigned long kWorkers = 3;

static unsigned long size_of(const Triple& shape) {
  return 1ul * shape.x * shape.y * shape.z;
}

static Triple place(unsigned long n, const Triple& shape) {
  return {unsigned(n % shape.x), unsigned(n / shape.x % shape.y), unsigned(n / shape.x / shape.y)};
}

template <class Kernel>
static bool run(void (*entry)(Kernel), const void* arguments) {
  static const Kernel* kernel;
  static void (*chosen)(Kernel);
  kernel = static_cast<const Kernel*>(arguments);
  chosen = entry;
  body = [] { chosen(*kernel); };
  const unsigned long blocks = size_of(gridDim), each = size_of(blockDim);
  if (kWaits<Kernel>) {
    for (unsigned long block = 0; block < blocks; ++block) {
      blockIdx = place(block, gridDim);
      if (!run_fibers()) return false;
    }
    return true;
  }
  std::vector<std::thread> workers;
  for (unsigned long lane = 0; lane < kWorkers; ++lane)
    workers.emplace_back([=] {
      for (unsigned long n = lane; n < blocks * each; n += kWorkers) {
        blockIdx = place(n / each, gridDim);
        threadIdx = place(n % each, blockDim);
        body();
      }
    });
  for (std::thread& worker : workers) worker.join();
  return true;
}

template <class Kernel>
static std::size_t size_of_argument(void (*)(Kernel)) {
  return sizeof(Kernel);
}

#define EMULATED(name)                                            \
  if (std::strcmp(entry, #name) == 0) {                           \
    if (arguments == nullptr) return int(size_of_argument(name)); \
    return run(name, arguments) ? 0 : -2;                         \
  }

// Without arguments, how many bytes they have; -1 for an unknown entry point, -2 for a block that diverged.
extern "C" int emulate(const char* entry, const unsigned* grid, const unsigned* block,
                       const void* arguments) {
  if (arguments != nullptr) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
  }
#include "entries.h"
  return -1;
}
