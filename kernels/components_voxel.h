// Components as launches over single rows of voxels, for a device whose threads all run at once.
//
// How many runs there are is known only when they are counted, so the scratch has room for a number of them
// and every launch after the counting does nothing where there are more.
#pragma once

#include "components.h"

namespace zeus {
namespace {

struct VoxelRuns {
  std::int64_t capacity;  // runs that fit
  std::int32_t* planes;   // (planes) runs before each plane
  std::uint64_t* best;    // (256) of each group, the largest component: its voxels, then how early it comes
  std::int64_t* needed;   // bytes of scratch
  Runs runs;
};

VOXEL_FN VoxelRuns voxel_runs(std::uintptr_t scratch, const Size3& size, std::int64_t capacity) {
  Carver carver = {scratch};
  VoxelRuns made;
  made.capacity = capacity;
  made.planes = carver.take<std::int32_t>(size.axis[0]);
  made.best = carver.take<std::uint64_t>(256);
  made.needed = carver.take<std::int64_t>(1);
  made.runs = runs_in(carver.at, size, capacity);
  return made;
}

VOXEL_FN std::int64_t voxel_components_bytes(const Size3& size, std::int64_t runs) {
  return scratch_bytes(voxel_runs(0, size, runs).runs.scratch_end);
}

VOXEL_FN std::int64_t run_capacity(const Size3& size, std::int64_t scratch_size) {
  std::int64_t low = 0, high = voxels(size);
  while (low < high) {
    const std::int64_t middle = (low + high + 1) / 2;
    if (voxel_components_bytes(size, middle) <= scratch_size)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

// What every launch is: over rows, unless it says otherwise.
template <class Sets>
struct VoxelComponents {
  RunRows<Sets> rows;
  VoxelRuns all;

  VOXEL_FN VoxelComponents(const Components& given, std::int64_t capacity)
      : all(voxel_runs(reinterpret_cast<std::uintptr_t>(given.scratch), given.size, capacity)) {
    rows = {given, all.runs};
  }

  VOXEL_FN std::int64_t extent() const { return rows_of(rows.call.size); }
  VOXEL_FN bool fits() const { return all.runs.first[rows_of(rows.call.size)] <= all.capacity; }
  VOXEL_FN std::int32_t first(std::int64_t row) const { return all.runs.first[row]; }
  VOXEL_FN int plane_of(std::int64_t row) const { return int(row / rows.call.size.axis[1]); }
  VOXEL_FN int row_in_plane(std::int64_t row) const { return int(row % rows.call.size.axis[1]); }

  // Calls work(run) for the runs of a row; for none where there are too many in all.
  template <class Work>
  VOXEL_FN void each_run(std::int64_t row, Work work) const {
    if (!fits()) return;
    for (std::int32_t run = first(row); run < first(row + 1); ++run) work(run);
  }
};

// runs.first[row + 1] becomes the runs of each row ...
template <class Sets>
struct CountRow : VoxelComponents<Sets> {
  using VoxelComponents<Sets>::VoxelComponents;
  VOXEL_FN void operator()(std::int64_t row) const { this->all.runs.first[row + 1] = this->rows.count(row); }
};

// ... with those before it in its plane ...
template <class Sets>
struct SumPlane : VoxelComponents<Sets> {
  using VoxelComponents<Sets>::VoxelComponents;
  VOXEL_FN std::int64_t extent() const { return this->rows.call.size.axis[0]; }
  VOXEL_FN void operator()(std::int64_t plane) const {
    const std::int64_t begin = plane * this->rows.call.size.axis[1];
    std::int32_t sum = 0;
    for (std::int64_t row = begin; row < begin + this->rows.call.size.axis[1]; ++row)
      this->all.runs.first[row + 1] = sum += this->all.runs.first[row + 1];
    this->all.planes[plane] = sum;
  }
};

// ... one thread ...
template <class Sets>
struct SumPlanes : VoxelComponents<Sets> {
  using VoxelComponents<Sets>::VoxelComponents;
  VOXEL_FN std::int64_t extent() const { return 1; }
  VOXEL_FN void operator()(std::int64_t) const {
    std::int32_t sum = 0;
    for (int plane = 0; plane < this->rows.call.size.axis[0]; ++plane) {
      const std::int32_t count = this->all.planes[plane];
      this->all.planes[plane] = sum;
      sum += count;
    }
    this->all.runs.first[0] = 0;
    *this->all.needed = voxel_components_bytes(this->rows.call.size, sum);
    for (int n = 0; n < 256; ++n) this->all.best[n] = this->rows.call.removed[n] = 0;
  }
};

// ... and with those in the planes before.
template <class Sets>
struct AddPlanes : VoxelComponents<Sets> {
  using VoxelComponents<Sets>::VoxelComponents;
  VOXEL_FN void operator()(std::int64_t row) const {
    this->all.runs.first[row + 1] += this->all.planes[this->plane_of(row)];
  }
};

template <class Sets>
struct FindRow : VoxelComponents<Sets> {
  using VoxelComponents<Sets>::VoxelComponents;
  VOXEL_FN void operator()(std::int64_t row) const {
    if (!this->fits()) return;
    this->rows.find(this->plane_of(row), this->row_in_plane(row));
    this->each_run(row, [&](std::int32_t run) { this->all.runs.voxels[run] = 0; });
  }
};

template <class Sets>
struct JoinRow : VoxelComponents<Sets> {
  using VoxelComponents<Sets>::VoxelComponents;
  VOXEL_FN void operator()(std::int64_t row) const {
    if (!this->fits()) return;
    const int i = this->plane_of(row), j = this->row_in_plane(row);
    if (j > 0) this->rows.join_rows(i, j, i, j - 1, 1);
    if (i > 0) this->rows.join_plane(i, j);
  }
};

// Every run gets the first run of its component, and that one the component's voxels.
template <class Sets>
struct MeasureRow : VoxelComponents<Sets> {
  using VoxelComponents<Sets>::VoxelComponents;
  VOXEL_FN void operator()(std::int64_t row) const {
    const Runs& runs = this->all.runs;
    this->each_run(row, [&](std::int32_t run) {
      Sets::add(runs.voxels + Sets::root(runs.parent, run), runs.end[run] - runs.begin[run]);
    });
  }
};

// Larger components first, and of two of one size the earlier.
VOXEL_FN std::uint64_t component_rank(std::int32_t voxels, std::int32_t run) {
  return std::uint64_t(voxels) << 32 | (0xffffffffu - std::uint32_t(run));
}

template <class Sets>
struct ChooseRow : VoxelComponents<Sets> {
  using VoxelComponents<Sets>::VoxelComponents;
  VOXEL_FN void operator()(std::int64_t row) const {
    const Runs& runs = this->all.runs;
    const Components& call = this->rows.call;
    this->each_run(row, [&](std::int32_t run) {
      if (runs.parent[run] == run && runs.voxels[run] >= call.least_voxels)
        Sets::raise(this->all.best + call.groups[runs.label[run]], component_rank(runs.voxels[run], run));
    });
  }
};

template <class Sets>
struct ClearRow : VoxelComponents<Sets> {
  using VoxelComponents<Sets>::VoxelComponents;
  VOXEL_FN void operator()(std::int64_t row) const {
    const Runs& runs = this->all.runs;
    const Components& call = this->rows.call;
    this->each_run(row, [&](std::int32_t run) {
      const std::int32_t root = Sets::root(runs.parent, run);
      const bool kept = call.largest ? this->all.best[call.groups[runs.label[run]]] ==
                                           component_rank(runs.voxels[root], root)
                                     : runs.voxels[root] >= call.least_voxels;
      if (kept) return;
      std::uint8_t* const labels = call.labels + row * call.size.axis[2];
      for (int k = runs.begin[run]; k < runs.end[run]; ++k) labels[k] = call.background;
      Sets::add(call.removed + runs.label[run], std::uint64_t(runs.end[run] - runs.begin[run]));
    });
  }
};

}  // namespace
}  // namespace zeus
