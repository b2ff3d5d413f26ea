// The weights of a prepare along each result axis, where result axes run along source axes.
#pragma once

#include "core/scratch.h"
#include "prepare.h"

namespace zeus {
namespace {

// How the voxels of one result axis are mixed from source voxels: voxel n is the sum over t < count of
// weight[t * size + n] * source[start[n] + t].
struct Taps {
  int count;
  std::int32_t* start;
  float* weight;
  Span inside;
};

VOXEL_FN int tap_count(double step, int samples, int source_size) {
  const double reach = absolute(step) * (samples - 1) / samples;
  const double taps = samples == 1 ? 2 : int(reach + 1e-6) + 3;  // the first voxel, those passed, and one on
  return taps < source_size ? int(taps) : source_size;
}

struct PrepareTaps {
  Size3 source_size, result_size;
  Matrix34 matrix;
  AxisMap map;
  int samples[3];
  Taps taps[3];  // of each result axis

  VOXEL_FN explicit PrepareTaps(const Prepare& given)
      : source_size(given.source_size),
        result_size(given.result_size),
        map(axis_map(given.matrix, given.result_size)) {
    matrix = without_noise(given.matrix, map);
    for (int n = 0; n < 3; ++n) {
      samples[n] = given.samples[n];
      taps[n].inside = inside_span(matrix.row[map.source_axis[n]], n, source_size.axis[map.source_axis[n]],
                                   result_size.axis[n]);
    }
    layout(reinterpret_cast<std::uintptr_t>(given.scratch));
  }

  // Places the arrays in the scratch and returns its end.
  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch) {
    Carver carver = {scratch};
    for (int n = 0; n < 3; ++n) {
      const int axis = map.source_axis[n];
      taps[n].count = tap_count(matrix.row[axis][n], samples[n], source_size.axis[axis]);
      taps[n].start = carver.take<std::int32_t>(result_size.axis[n]);
      taps[n].weight = carver.take<float>(std::int64_t(result_size.axis[n]) * taps[n].count);
    }
    return carver.at;
  }

  // Fills every tap.
  VOXEL_FN void ready() const {
    for (int n = 0; n < 3; ++n)
      for (int index = 0; index < result_size.axis[n]; ++index) fill(n, index);
  }

  // (axis, 0, index along it); an axis shorter than the longest leaves voxels without work.
  VOXEL_FN Size3 extent() const {
    return {{3, 1, larger(larger(result_size.axis[0], result_size.axis[1]), result_size.axis[2])}};
  }

  VOXEL_FN void operator()(int n, int, int index) const {
    if (index < result_size.axis[n]) fill(n, index);
  }

 private:
  VOXEL_FN void fill(int n, int index) const {
    const int axis = map.source_axis[n], size = source_size.axis[axis], count = result_size.axis[n];
    const double* row = matrix.row[axis];
    const Place first = sampled(row, n, index, 0, size), last = sampled(row, n, index, samples[n] - 1, size);
    const int start = larger(smaller(smaller(first.low, last.low), size - taps[n].count), 0);
    taps[n].start[index] = start;
    for (int t = 0; t < taps[n].count; ++t) {
      double weight = 0;
      for (int s = 0; s < samples[n]; ++s) {
        const Place p = sampled(row, n, index, s, size);
        if (p.low == start + t) weight += 1.0 - p.part;
        if (p.low + 1 == start + t) weight += p.part;
      }
      taps[n].weight[std::int64_t(t) * count + index] = float(weight / samples[n]);
    }
  }

  VOXEL_FN Place sampled(const double* row, int n, int index, int s, int size) const {
    return place(row[n] * (index + sample_offset(s, samples[n])) + row[3], size);
  }
};

}  // namespace
}  // namespace zeus
