// Runs the entry points of cuda.cu on a CPU: its text, with CUDA's words given a meaning for one thread at a
// time.
//
// Threads of a block that wait for each other are fibers, resumed in turn: at a wait each has reached the
// same one.
#include <ucontext.h>

#include <cstdint>
#include <cstring>
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
static Triple threadIdx, blockIdx, blockDim, gridDim;

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
  return (*to += value) - value;
}
template <class T>
static void atomicMax(T* to, T value) {
  *to = *to < value ? value : *to;
}
template <class T>
static void atomicMin(T* to, T value) {
  *to = value < *to ? value : *to;
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

template <class Kernel>
static bool run(void (*entry)(Kernel), const void* arguments) {
  static const Kernel* kernel;
  static void (*chosen)(Kernel);
  kernel = static_cast<const Kernel*>(arguments);
  chosen = entry;
  body = [] { chosen(*kernel); };
  for (blockIdx.z = 0; blockIdx.z < gridDim.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
        if (kWaits<Kernel>) {
          if (!run_fibers()) return false;
          continue;
        }
        for (threadIdx.z = 0; threadIdx.z < blockDim.z; ++threadIdx.z)
          for (threadIdx.y = 0; threadIdx.y < blockDim.y; ++threadIdx.y)
            for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) body();
      }
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
