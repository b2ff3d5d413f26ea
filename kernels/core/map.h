// How the voxels of a result grid land in a source grid.
#pragma once

#include "core/voxel.h"

namespace zeus {
namespace {

constexpr double kBorderVoxels = 0.5 + 1e-6;  // half a voxel, and room for rounding in the matrix

// Which source axis each result axis runs along, if the map is a permutation with flips.
struct AxisMap {
  bool aligned;
  int source_axis[3];  // of each result axis
  int result_axis[3];  // of each source axis
};

VOXEL_FN double absolute(double x) {
  return x < 0 ? -x : x;
}

// Off-axis entries that move no voxel of the result by 1e-4 source voxels are rounding noise.
VOXEL_FN AxisMap axis_map(const Matrix34& matrix, const Size3& result) {
  AxisMap map = {true, {-1, -1, -1}, {-1, -1, -1}};
  for (int n = 0; n < 3; ++n) {
    int main = 0;
    for (int m = 1; m < 3; ++m)
      if (absolute(matrix.row[n][m]) > absolute(matrix.row[n][main])) main = m;
    double drift = 0;
    for (int m = 0; m < 3; ++m)
      if (m != main) drift += absolute(matrix.row[n][m]) * result.axis[m];
    if (drift > 1e-4 || map.source_axis[main] != -1 || matrix.row[n][main] == 0) map.aligned = false;
    map.source_axis[main] = n;
    map.result_axis[n] = main;
  }
  return map;
}

// The same map with the noise set to zero; unchanged when it is not aligned.
VOXEL_FN Matrix34 without_noise(Matrix34 matrix, const AxisMap& map) {
  if (map.aligned)
    for (int n = 0; n < 3; ++n)
      for (int m = 0; m < 3; ++m)
        if (m != map.result_axis[n]) matrix.row[n][m] = 0;
  return matrix;
}

// One order of operations for every path. With zeros off the axis it equals row[m] * index + row[3].
VOXEL_FN double position(const double* row, double i, double j, double k) {
  return row[0] * i + row[1] * j + row[2] * k + row[3];
}

VOXEL_FN bool is_inside(double position, int size) {
  return (position >= -kBorderVoxels) & (position <= size - 1 + kBorderVoxels);
}

// A cell (the two neighbours `low` and `low + 1`) and how far across it, 0 to 1.
struct Place {
  std::int32_t low;
  float part;
};

// Edge voxels are repeated. An axis of one voxel has the cell 0 with part 0.
VOXEL_FN Place place(double position, int size) {
  const double last = size - 1;
  position = position > 0 ? position : 0;
  position = position < last ? position : last;
  std::int32_t low = std::int32_t(position);
  low = low < size - 1 ? low : size - 2;
  low = low > 0 ? low : 0;
  return {low, float(position - low)};
}

// The places of a run of voxels along k, kept apart so that the arithmetic vectorises.
struct Run {
  static constexpr int kLength = 64;
  std::int32_t low[3][kLength];
  float part[3][kLength];
};

// `i`, `j`, `k` may be fractional (supersampling); voxel n of the run lies at k + n.
VOXEL_FN void places(const Matrix34& matrix, const Size3& source, const double* at, int count, Run& run) {
  for (int axis = 0; axis < 3; ++axis)
    for (int n = 0; n < count; ++n) {
      const Place p = place(position(matrix.row[axis], at[0], at[1], at[2] + n), source.axis[axis]);
      run.low[axis][n] = p.low;
      run.part[axis][n] = p.part;
    }
}

VOXEL_FN bool is_inside(const Matrix34& matrix, const Size3& source, double i, double j, double k) {
  return is_inside(position(matrix.row[0], i, j, k), source.axis[0]) &
         is_inside(position(matrix.row[1], i, j, k), source.axis[1]) &
         is_inside(position(matrix.row[2], i, j, k), source.axis[2]);
}

// The voxels of one result axis whose centre is inside the source, of those `within` a part of it; `row` is
// the source axis that result axis `axis` runs along.
VOXEL_FN Span inside_span(const double* row, int axis, int source_size, Span within) {
  Span span = within;
  const auto inside = [&](int n) { return is_inside(row[axis] * n + row[3], source_size); };
  while (span.first < span.last && !inside(span.first)) ++span.first;
  while (span.last > span.first && !inside(span.last - 1)) --span.last;
  return span;
}

VOXEL_FN Span inside_span(const double* row, int axis, int source_size, int result_size) {
  return inside_span(row, axis, source_size, Span{0, result_size});
}

}  // namespace
}  // namespace zeus
