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

// Joined runs of a thread that has them for itself.
struct PlainSets {
  static VOXEL_FN std::int32_t root(std::int32_t* parent, std::int32_t run) {
    while (parent[run] != run) {
      parent[run] = parent[parent[run]];
      run = parent[run];
    }
    return run;
  }

  static VOXEL_FN void join(std::int32_t* parent, std::int32_t a, std::int32_t b) {
    a = root(parent, a);
    b = root(parent, b);
    parent[larger(a, b)] = smaller(a, b);
  }

  template <class T>
  static VOXEL_FN void add(T* to, T value) {
    *to += value;
  }
  static VOXEL_FN void raise(std::uint64_t* to, std::uint64_t value) { *to = larger(*to, value); }
};

// What is done with the runs of rows, and of rows beside each other.
template <class Sets>
struct RunRows {
  Components call;
  Runs runs;

  VOXEL_FN std::int64_t row_of(int i, int j) const { return std::int64_t(i) * call.size.axis[1] + j; }

  VOXEL_FN std::int32_t count(std::int64_t row) const {
    const int length = call.size.axis[2];
    const std::uint8_t* const labels = call.labels + row * length;
    std::int32_t count = 0;
    for (int k = 0; k < length; k = run_end(labels, k, length)) count += call.groups[labels[k]] != 0;
    return count;
  }

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
        if (k > 0 && call.groups[labels[k - 1]] == call.groups[labels[k]])
          Sets::join(runs.parent, run - 1, run);
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
      if (touch && alike(a, b)) Sets::join(runs.parent, a, b);
      if (runs.end[a] < runs.end[b]) {
        ++a;
      } else if (runs.end[a] > runs.end[b]) {
        ++b;
      } else {  // what follows either of them may touch the other's last voxel
        if (reach == 1 && a + 1 < runs.first[here + 1] && runs.begin[a + 1] == runs.end[b] && alike(a + 1, b))
          Sets::join(runs.parent, a + 1, b);
        if (reach == 1 && b + 1 < runs.first[there + 1] && runs.begin[b + 1] == runs.end[a] &&
            alike(a, b + 1))
          Sets::join(runs.parent, a, b + 1);
        ++a;
        ++b;
      }
    }
  }

  VOXEL_FN bool alike(std::int32_t a, std::int32_t b) const {
    return call.groups[runs.label[a]] == call.groups[runs.label[b]];
  }
};

}  // namespace
}  // namespace zeus
