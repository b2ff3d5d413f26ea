// Connected components of many structures at once: keep the largest of each, or all that are not tiny.
//
// Voxels are joined in runs (stretches of one label along k), so the work grows with the number of runs.
// Every set of joined runs is named by its first run, whatever the order of joining, so any number of
// threads gives the same answer; there are fewer than 2^31 voxels. Of two components of one size the one
// whose first voxel comes first is kept.
#pragma once

#include "core/runs.h"
#include "core/scratch.h"
#include "core/voxel.h"

namespace zeus {

enum class Neighbours { faces = 6, edges = 18, corners = 26 };

// The arguments as they come from a caller.
struct Components {
  std::uint8_t* labels;  // (size), changed in place
  Size3 size;
  const std::uint8_t* groups;  // (256) of each label: labels of one group are one structure, 0 stays as it is
  Neighbours neighbours;
  bool largest;               // keep only the largest component of each group
  std::int32_t least_voxels;  // and of what is left only those with at least so many voxels
  std::uint8_t background;    // what removed voxels become
  std::uint64_t* removed;     // (256) voxels removed of each label
  void* scratch;              // see RunMaps
};

namespace {

VOXEL_FN std::int64_t rows_of(const Size3& size) {
  return std::int64_t(size.axis[0]) * size.axis[1];
}

// What the passes share, cut from the scratch: `count` runs fit.
struct Runs {
  std::int32_t* first;        // (rows + 1) of each row, its first run
  std::int32_t *begin, *end;  // of each run, voxels along k
  std::uint8_t* label;        // of each run
  std::int32_t* parent;       // an earlier run of its component, or itself
  std::int32_t* voxels;       // of the component, at its first run; negative where it is dropped
  std::uintptr_t scratch_end;
};

VOXEL_FN Runs runs_in(std::uintptr_t scratch, const Size3& size, std::int64_t count) {
  Carver carver = {scratch};
  Runs runs;
  runs.first = carver.take<std::int32_t>(rows_of(size) + 1);
  runs.begin = carver.take<std::int32_t>(count);
  runs.end = carver.take<std::int32_t>(count);
  runs.label = carver.take<std::uint8_t>(count);
  runs.parent = carver.take<std::int32_t>(count);
  runs.voxels = carver.take<std::int32_t>(count);
  runs.scratch_end = carver.at;
  return runs;
}

// First pass: how many runs each row has.
struct CountRuns {
  Components call;
  Runs runs;

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return call.size.axis[0]; }
  VOXEL_FN void task(std::int64_t plane, int) const {
    const int length = call.size.axis[2];
    for (int j = 0; j < call.size.axis[1]; ++j) {
      const std::int64_t row = plane * call.size.axis[1] + j;
      const std::uint8_t* const labels = call.labels + row * length;
      std::int32_t count = 0;
      for (int k = 0; k < length; k = run_end(labels, k, length)) count += call.groups[labels[k]] != 0;
      runs.first[row + 1] = count;
    }
  }

  // Counts to first runs; returns how many runs there are.
  VOXEL_FN std::int64_t sum() const {
    runs.first[0] = 0;
    for (std::int64_t row = 1; row <= rows_of(call.size); ++row) runs.first[row] += runs.first[row - 1];
    return runs.first[rows_of(call.size)];
  }
};

// Second pass: find the runs of a slab of planes and join those that touch inside it.
struct JoinRuns {
  static constexpr int kPlanes = 8;  // of one slab

  Components call;
  Runs runs;

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

 private:
  VOXEL_FN std::int64_t row_of(int i, int j) const { return std::int64_t(i) * call.size.axis[1] + j; }

  VOXEL_FN void find(int i, int j) const {
    const int length = call.size.axis[2];
    const std::uint8_t* const labels = call.labels + row_of(i, j) * length;
    std::int32_t run = runs.first[row_of(i, j)];
    for (int k = 0; k < length;) {
      const int end = run_end(labels, k, length);
      if (call.groups[labels[k]] != 0) {
        runs.begin[run] = k;
        runs.end[run] = end;
        runs.label[run] = labels[k];
        runs.parent[run] = run;
        if (k > 0 && call.groups[labels[k - 1]] == call.groups[labels[k]]) join(run - 1, run);
        ++run;
      }
      k = end;
    }
  }

  VOXEL_FN void join_plane(int i, int j) const {
    join_rows(i, j, i - 1, j, 1);
    if (j > 0) join_rows(i, j, i - 1, j - 1, 2);
    if (j + 1 < call.size.axis[1]) join_rows(i, j, i - 1, j + 1, 2);
  }

  // Two rows whose places differ along `axes` axes: runs of one label that overlap, or touch diagonally.
  VOXEL_FN void join_rows(int i, int j, int other_i, int other_j, int axes) const {
    const int allowed = call.neighbours == Neighbours::corners ? 3
                        : call.neighbours == Neighbours::edges ? 2
                                                               : 1;
    if (axes > allowed) return;
    const int reach = axes < allowed ? 1 : 0;
    const std::int64_t here = row_of(i, j), there = row_of(other_i, other_j);
    std::int32_t a = runs.first[here], b = runs.first[there];
    while (a < runs.first[here + 1] && b < runs.first[there + 1]) {
      const bool touch = (runs.begin[a] < runs.end[b] + reach) & (runs.begin[b] < runs.end[a] + reach);
      if (touch && alike(a, b)) join(a, b);
      if (runs.end[a] < runs.end[b]) {
        ++a;
      } else if (runs.end[a] > runs.end[b]) {
        ++b;
      } else {  // what follows either of them may touch the other's last voxel
        if (reach == 1 && a + 1 < runs.first[here + 1] && runs.begin[a + 1] == runs.end[b] && alike(a + 1, b))
          join(a + 1, b);
        if (reach == 1 && b + 1 < runs.first[there + 1] && runs.begin[b + 1] == runs.end[a] &&
            alike(a, b + 1))
          join(a, b + 1);
        ++a;
        ++b;
      }
    }
  }

  VOXEL_FN bool alike(std::int32_t a, std::int32_t b) const {
    return call.groups[runs.label[a]] == call.groups[runs.label[b]];
  }

  VOXEL_FN std::int32_t root(std::int32_t run) const {
    while (runs.parent[run] != run) {
      runs.parent[run] = runs.parent[runs.parent[run]];
      run = runs.parent[run];
    }
    return run;
  }

  VOXEL_FN void join(std::int32_t a, std::int32_t b) const {
    a = root(a);
    b = root(b);
    runs.parent[larger(a, b)] = smaller(a, b);
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
  CountRuns counted = {given, runs_in(scratch, given.size, 0)};
  run(counted);
  const std::int64_t count = counted.sum(), needed = components_bytes(given.size, count);
  if (needed > scratch_size) return needed;
  const Runs runs = runs_in(scratch, given.size, count);
  JoinRuns joined = {given, runs};
  run(joined);
  joined.join_slabs();
  ClearRuns cleared = {given, runs, count};
  cleared.choose();
  run(cleared);
  return needed;
}

}  // namespace
}  // namespace zeus
