// Components as tasks for the threads of a CPU: few passes, and as little as possible that one thread does
// alone.
#pragma once

#include "components.h"

namespace zeus {
namespace {

// First pass: how many runs each row has.
struct CountRuns : RunRows<PlainSets> {
  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return call.size.axis[0]; }
  VOXEL_FN void task(std::int64_t plane, int) const {
    const std::int64_t begin = plane * call.size.axis[1];
    for (std::int64_t row = begin; row < begin + call.size.axis[1]; ++row) runs.first[row + 1] = count(row);
  }

  // Counts to first runs; returns how many runs there are.
  VOXEL_FN std::int64_t sum() const {
    runs.first[0] = 0;
    for (std::int64_t row = 1; row <= rows_of(call.size); ++row) runs.first[row] += runs.first[row - 1];
    return runs.first[rows_of(call.size)];
  }
};

// Second pass: find the runs of a slab of planes and join those that touch inside it.
struct JoinRuns : RunRows<PlainSets> {
  static constexpr int kPlanes = 8;  // of one slab

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return (call.size.axis[0] + kPlanes - 1) / kPlanes; }
  VOXEL_FN void task(std::int64_t slab, int) const {
    const int first = int(slab) * kPlanes, last = smaller(first + kPlanes, call.size.axis[0]);
    for (int i = first; i < last; ++i)
      for (int j = 0; j < call.size.axis[1]; ++j) {
        find(i, j);
        if (j > 0) join_rows(i, j, i, j - 1, 1);
        if (i > first) join_plane(i, j);
      }
  }

  // The seams between slabs; one thread.
  VOXEL_FN void join_slabs() const {
    for (int i = kPlanes; i < call.size.axis[0]; i += kPlanes)
      for (int j = 0; j < call.size.axis[1]; ++j) join_plane(i, j);
  }
};

// Third pass: measure the components, choose, and clear the runs of the others.
struct ClearRuns {
  Components call;
  Runs runs;
  std::int64_t count;

  // One thread: every run gets its component, every component its size, negative where it is dropped.
  VOXEL_FN void choose() const {
    std::int32_t best[256];
    for (int n = 0; n < 256; ++n) {
      best[n] = -1;
      call.removed[n] = 0;
    }
    for (std::int64_t run = 0; run < count; ++run) {
      runs.voxels[run] = 0;
      const std::int32_t first = runs.parent[run] = runs.parent[runs.parent[run]];
      runs.voxels[first] += runs.end[run] - runs.begin[run];
    }
    for (std::int32_t run = 0; run < count; ++run) {
      if (runs.parent[run] != run) continue;
      std::int32_t& kept = best[call.groups[runs.label[run]]];
      const bool beaten = call.largest && kept >= 0 && runs.voxels[run] <= runs.voxels[kept];
      if (beaten || runs.voxels[run] < call.least_voxels) {
        runs.voxels[run] = -runs.voxels[run];
      } else {
        if (call.largest && kept >= 0) runs.voxels[kept] = -runs.voxels[kept];
        kept = run;
      }
    }
    for (std::int64_t run = 0; run < count; ++run)
      if (dropped(run)) call.removed[runs.label[run]] += std::uint64_t(runs.end[run] - runs.begin[run]);
  }

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return call.size.axis[0]; }
  VOXEL_FN void task(std::int64_t plane, int) const {
    for (int j = 0; j < call.size.axis[1]; ++j) {
      const std::int64_t row = plane * call.size.axis[1] + j;
      std::uint8_t* const labels = call.labels + row * call.size.axis[2];
      for (std::int32_t run = runs.first[row]; run < runs.first[row + 1]; ++run)
        if (dropped(run))
          __builtin_memset(labels + runs.begin[run], call.background,
                           std::size_t(runs.end[run] - runs.begin[run]));
    }
  }

 private:
  VOXEL_FN bool dropped(std::int64_t run) const { return runs.voxels[runs.parent[run]] < 0; }
};

VOXEL_FN std::int64_t components_bytes(const Size3& size, std::int64_t runs) {
  return scratch_bytes(runs_in(0, size, runs).scratch_end);
}

// All passes in order; `run` does every task of one. Returns the bytes of scratch they need, and does nothing
// more than count where `scratch_size` is less.
template <class Run>
VOXEL_FN std::int64_t run_components(const Components& given, std::int64_t scratch_size, Run run) {
  const std::uintptr_t scratch = reinterpret_cast<std::uintptr_t>(given.scratch);
  CountRuns counted = {{given, runs_in(scratch, given.size, 0)}};
  run(counted);
  const std::int64_t count = counted.sum(), needed = components_bytes(given.size, count);
  if (needed > scratch_size) return needed;
  const Runs runs = runs_in(scratch, given.size, count);
  JoinRuns joined = {{given, runs}};
  run(joined);
  joined.join_slabs();
  ClearRuns cleared = {given, runs, count};
  cleared.choose();
  run(cleared);
  return needed;
}

}  // namespace
}  // namespace zeus
