// The CUDA entry points: threads call the operator() of the same structs that run on the CPU.
//
// Compiled on the machine it runs on, by NVRTC (runtime/cuda/), with --fmad=false, so every sum has the bits
// of the CPU's. One exception: a NaN made from infinities or NaNs (blending only) has the device's NaN bits.
//
// Written without a device at hand: the text was run on a CPU (tests/cuda_emulator.py), its speed was not
// measured at all. What to look at first on a device:
// - Positions of oblique maps, and of every label, are found in double precision, which most cards other than
//   data-centre ones do at 1/32 or 1/64 of the rate of single precision. For aligned labels, tables of the
//   places along each axis, as prepare_taps makes them, would give the same bits without.
// - What is gathered with labels is summed by one thread for each row of the result: few atomics, but
//   neighbouring threads read and write far apart. With confidence that thread also labels the row.
// - Halves and bytes are moved one by one: a warp's 32 neighbours fill 64 or 32 bytes of a transaction.
#include "argmax.h"
#include "blend.h"
#include "candidates.h"
#include "components_voxel.h"
#include "histogram.h"
#include "label.h"
#include "label_confident.h"
#include "label_oblique.h"
#include "launch_shape.h"
#include "prepare_aligned.h"
#include "prepare_oblique.h"

namespace zeus {
namespace {

template <class Kernel>
__device__ __forceinline__ void each_voxel(const Kernel& kernel, const Size3& extent) {
  const int k = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (k >= extent.axis[2]) return;
  for (int i = int(blockIdx.z * blockDim.z + threadIdx.z); i < extent.axis[0];
       i += int(gridDim.z * blockDim.z))
    for (int j = int(blockIdx.y * blockDim.y + threadIdx.y); j < extent.axis[1];
         j += int(gridDim.y * blockDim.y))
      kernel(i, j, k);
}

template <class Kernel>
__device__ __forceinline__ void each_voxel(const Kernel& kernel, std::int64_t extent) {
  const std::int64_t step = std::int64_t(gridDim.x) * blockDim.x;
  for (std::int64_t n = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x; n < extent; n += step) kernel(n);
}

__device__ __forceinline__ void add(std::uint64_t* to, std::uint32_t count) {
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(count));
}

// How threads add to one table.
struct AtomicSums {
  static __device__ __forceinline__ void add(std::int64_t* to, std::int64_t value) {
    atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
  }
  // Most rows change nothing; what another thread has just written only costs one atomic more.
  static __device__ __forceinline__ void lower(std::int64_t* to, std::int64_t value) {
    if (*to > value) atomicMin(reinterpret_cast<long long*>(to), static_cast<long long>(value));
  }
  static __device__ __forceinline__ void raise(std::int64_t* to, std::int64_t value) {
    if (*to < value) atomicMax(reinterpret_cast<long long*>(to), static_cast<long long>(value));
  }
};

// Runs that all threads join at once. A link always leads to an earlier run and is only ever replaced by an
// earlier one, so whatever order the joins happen in, the first run of a component is what all lead to.
struct AtomicSets {
  static __device__ __forceinline__ std::int32_t seen(const std::int32_t* parent) {
    return *static_cast<const volatile std::int32_t*>(parent);
  }

  static __device__ __forceinline__ std::int32_t root(std::int32_t* parent, std::int32_t run) {
    for (std::int32_t up = seen(parent + run); up != run; up = seen(parent + run)) {
      const std::int32_t further = seen(parent + up);
      if (further != up) atomicMin(parent + run, further);
      run = up;
    }
    return run;
  }

  static __device__ __forceinline__ void join(std::int32_t* parent, std::int32_t a, std::int32_t b) {
    for (;;) {
      a = root(parent, a);
      b = root(parent, b);
      if (a == b) return;
      const std::int32_t early = smaller(a, b), late = larger(a, b);
      const std::int32_t linked = atomicMin(parent + late, early);
      if (linked == late) return;
      a = early;  // another thread was faster; what it linked to must be joined too
      b = linked;
    }
  }

  static __device__ __forceinline__ void add(std::int32_t* to, std::int32_t value) { atomicAdd(to, value); }
  static __device__ __forceinline__ void add(std::uint64_t* to, std::uint64_t value) {
    atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
  }
  static __device__ __forceinline__ void raise(std::uint64_t* to, std::uint64_t value) {
    atomicMax(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
  }
};

// Counts a part of the voxels. Most bins of a scan lie together: a window around the largest bin of a sample
// is counted in shared memory, the others go to the tally at once. Integers, so the order of threads changes
// nothing.
template <class T>
struct Counter {
  static constexpr std::uint32_t kNone = 0xffffffffu;
  static constexpr int kWindow = 8192;  // bins; 32 KiB let an SM hold all its threads on every architecture
  static constexpr int kBatch = 8;      // loads that are under way together

  const HistogramVoxels<T>& kernel;
  std::uint32_t* window;   // kWindow, shared
  std::uint32_t* highest;  // shared

  __device__ __forceinline__ void run() const {
    const std::int64_t begin = std::int64_t(blockIdx.x) * kCountVoxels,
                       end = smaller(begin + kCountVoxels, kernel.voxels);
    for (int n = int(threadIdx.x); n < kWindow; n += kCountThreads) window[n] = 0;
    if (threadIdx.x == 0) *highest = 0;
    __syncthreads();
    const std::uint32_t sample = kernel.bin(begin + (end - begin) * threadIdx.x / kCountThreads);
    if (sample != Tally::kMissing) atomicMax(highest, sample);
    __syncthreads();
    const std::uint32_t first = larger(*highest, std::uint32_t(kWindow / 2)) - kWindow / 2;

    for (std::int64_t start = begin; start < end; start += kCountThreads * kBatch) {
      std::uint32_t bins[kBatch];
#pragma unroll
      for (int n = 0; n < kBatch; ++n) {
        const std::int64_t voxel = start + n * kCountThreads + threadIdx.x;
        bins[n] = voxel < end ? kernel.bin(voxel) : kNone;
      }
#pragma unroll
      for (int n = 0; n < kBatch; ++n) count(bins[n], first);
    }
    __syncthreads();
    for (int n = int(threadIdx.x); n < kWindow; n += kCountThreads)
      if (window[n] != 0) add(kernel.tally.of(first + n), window[n]);
  }

  // Where a whole warp has one bin (padding, air), one thread adds for all.
  __device__ __forceinline__ void count(std::uint32_t bin, std::uint32_t first) const {
    int same;
    __match_all_sync(0xffffffffu, bin, &same);
    if (bin == kNone || (same && threadIdx.x % 32 != 0)) return;
    const std::uint32_t voxels = same ? 32 : 1;
    if (bin - first < std::uint32_t(kWindow))
      atomicAdd(window + (bin - first), voxels);
    else
      add(kernel.tally.of(bin), voxels);
  }
};

}  // namespace
}  // namespace zeus

// The structs stay in the constant bank: a copy for every thread would go through memory.
#define ZEUS_BOUNDED(bounds, name, ...)                                                                  \
  extern "C" __global__ void __launch_bounds__ bounds name(const __grid_constant__ __VA_ARGS__ kernel) { \
    zeus::each_voxel(kernel, kernel.extent());                                                           \
  }
#define ZEUS_ENTRY(name, ...) ZEUS_BOUNDED((zeus::kBlockThreads), name, __VA_ARGS__)

// With fewer blocks in mind, NVRTC 13.5 spills no register of the oblique kernel on any architecture.
#define ZEUS_LARGE_ENTRY(name, ...) ZEUS_BOUNDED((zeus::kBlockThreads, 3), name, __VA_ARGS__)

#define ZEUS_PREPARE(from, T)                                                             \
  ZEUS_ENTRY(prepare_aligned_##from##_float32, zeus::PrepareAligned<T, float>)            \
  ZEUS_ENTRY(prepare_aligned_##from##_float16, zeus::PrepareAligned<T, zeus::Half>)       \
  ZEUS_ENTRY(prepare_aligned_##from##_bfloat16, zeus::PrepareAligned<T, zeus::Bfloat16>)  \
  ZEUS_LARGE_ENTRY(prepare_oblique_##from##_float32, zeus::PrepareOblique<T, float>)      \
  ZEUS_LARGE_ENTRY(prepare_oblique_##from##_float16, zeus::PrepareOblique<T, zeus::Half>) \
  ZEUS_LARGE_ENTRY(prepare_oblique_##from##_bfloat16, zeus::PrepareOblique<T, zeus::Bfloat16>)

#define ZEUS_HISTOGRAM(from, T)                                                   \
  extern "C" __global__ void __launch_bounds__(zeus::kCountThreads)               \
      histogram_##from(const __grid_constant__ zeus::HistogramVoxels<T> kernel) { \
    __shared__ std::uint32_t window[zeus::Counter<T>::kWindow], highest;          \
    zeus::Counter<T>{kernel, window, &highest}.run();                             \
  }

#define ZEUS_STORED(from, T) ZEUS_PREPARE(from, T) ZEUS_HISTOGRAM(from, T)

ZEUS_STORED(int8, std::int8_t)
ZEUS_STORED(uint8, std::uint8_t)
ZEUS_STORED(int16, std::int16_t)
ZEUS_STORED(uint16, std::uint16_t)
ZEUS_STORED(int32, std::int32_t)
ZEUS_STORED(float32, float)
ZEUS_ENTRY(prepare_taps, zeus::PrepareTaps)
ZEUS_ENTRY(histogram_clear, zeus::HistogramClear)

ZEUS_ENTRY(blend_add, zeus::BlendAdd)
ZEUS_ENTRY(blend_normalise, zeus::BlendNormalise)

#define ZEUS_LABELS(from, S, to, R)                                             \
  ZEUS_ENTRY(argmax_##from##_##to, zeus::ArgmaxOf<S, R, false>)                 \
  ZEUS_ENTRY(label_##from##_##to, zeus::LabelOblique<zeus::StoredScores<S>, R>) \
  ZEUS_ENTRY(label_confident_##from##_##to, zeus::LabelConfident<zeus::StoredScores<S>, R, zeus::AtomicSums>)

#define ZEUS_SCORES(from, S)                                               \
  ZEUS_LABELS(from, S, uint8, std::uint8_t)                                \
  ZEUS_LABELS(from, S, uint16, std::uint16_t)                              \
  ZEUS_ENTRY(guarded_argmax_##from, zeus::ArgmaxOf<S, std::uint8_t, true>) \
  ZEUS_ENTRY(beaten_##from, zeus::BeatenVoxels<S>)                         \
  ZEUS_ENTRY(scores_##from, zeus::ScoreVoxels<S>)

ZEUS_SCORES(float32, float)
ZEUS_SCORES(float16, zeus::Half)
ZEUS_SCORES(bfloat16, zeus::Bfloat16)
ZEUS_ENTRY(shared_winner, zeus::SharedWinner)
ZEUS_ENTRY(box_clear, zeus::BoxClear)
ZEUS_ENTRY(box_rows, zeus::BoxRows<zeus::AtomicSums>)
ZEUS_ENTRY(gather_clear, zeus::GatherClear)
ZEUS_ENTRY(gather_rows_uint8, zeus::GatherRows<std::uint8_t, zeus::AtomicSums>)
ZEUS_ENTRY(gather_rows_uint16, zeus::GatherRows<std::uint16_t, zeus::AtomicSums>)

ZEUS_ENTRY(components_count, zeus::CountRow<zeus::AtomicSets>)
ZEUS_ENTRY(components_sum_plane, zeus::SumPlane<zeus::AtomicSets>)
ZEUS_ENTRY(components_sum_planes, zeus::SumPlanes<zeus::AtomicSets>)
ZEUS_ENTRY(components_add_planes, zeus::AddPlanes<zeus::AtomicSets>)
ZEUS_ENTRY(components_find, zeus::FindRow<zeus::AtomicSets>)
ZEUS_ENTRY(components_join, zeus::JoinRow<zeus::AtomicSets>)
ZEUS_ENTRY(components_measure, zeus::MeasureRow<zeus::AtomicSets>)
ZEUS_ENTRY(components_choose, zeus::ChooseRow<zeus::AtomicSets>)
ZEUS_ENTRY(components_clear, zeus::ClearRow<zeus::AtomicSets>)
