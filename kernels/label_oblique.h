// Label for any affine map: each voxel looks its cell up, and reads scores only where the cell is undecided.
#pragma once

#include "label.h"

namespace zeus {
namespace {

template <class Source, class R>
struct LabelOblique {
  static constexpr int kSide = 4;  // planes and rows of one task: neighbours read the same cells
  static constexpr int kKept = 4;  // score rows along each axis that a source may keep for them

  Source source;
  int classes;
  Size3 score_size;
  R* result;
  Size3 result_size;
  Span window[3];
  Matrix34 matrix;
  const R* values;
  R outside;
  const std::uint8_t* cells;

  VOXEL_FN LabelOblique(const Label& given, int threads)
      : source(given.scores),
        classes(given.scores.classes),
        score_size(given.scores.size),
        result(static_cast<R*>(given.result)),
        result_size(given.result_size),
        window{given.window[0], given.window[1], given.window[2]},
        matrix(without_noise(given.matrix, axis_map(given.matrix, given.result_size))),
        values(static_cast<const R*>(given.values)),
        outside(R(given.outside)) {
    layout(reinterpret_cast<std::uintptr_t>(given.scratch), threads);
  }

  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch, int threads) {
    const CellMaps maps = cell_maps(scratch, score_size);
    cells = maps.cells;
    return source.layout(maps.end, threads, kKept);
  }

  VOXEL_FN void ready() { source.ready(); }
  VOXEL_FN Size3 extent() const { return {{length(window[0]), length(window[1]), length(window[2])}}; }

  VOXEL_FN void operator()(int i, int j, int k) const {
    run(window[0].first + i, window[1].first + j, window[2].first + k, 1, 0);
  }

  VOXEL_FN std::int64_t tasks() const { return std::int64_t(sides(0)) * sides(1); }

  VOXEL_FN void task(std::int64_t task, int lane) const {
    const Span rows = part(0, task / sides(1)), columns = part(1, task % sides(1));
    for (int k = window[2].first; k < window[2].last; k += Run::kLength)
      for (int a = rows.first; a < rows.last; ++a)
        for (int b = columns.first; b < columns.last; ++b)
          run(a, b, k, smaller(int(Run::kLength), window[2].last - k), lane);
  }

  template <class Lanes>
  VOXEL_FN void gathered_task(std::int64_t task, int lane, const Lanes& lanes) const {
    this->task(task, lane);
    const Span rows = part(0, task / sides(1)), columns = part(1, task % sides(1));
    for (int a = rows.first; a < rows.last; ++a)
      for (int b = columns.first; b < columns.last; ++b)
        lanes.add_row(result + (std::int64_t(a) * result_size.axis[1] + b) * result_size.axis[2], a, b,
                      row_span(matrix, score_size, a, b, result_size.axis[2]), lane);
  }

 private:
  VOXEL_FN int sides(int axis) const { return (length(window[axis]) + kSide - 1) / kSide; }

  // Voxels along `axis` of the task that comes `side` there.
  VOXEL_FN Span part(int axis, std::int64_t side) const {
    const int first = window[axis].first + int(side) * kSide;
    return {first, smaller(first + int(kSide), window[axis].last)};
  }

  VOXEL_FN void run(int i, int j, int k, int count, int lane) const {
    const double start[3] = {double(i), double(j), double(k)};
    R* const out = result + (std::int64_t(i) * result_size.axis[1] + j) * result_size.axis[2] + k;
    Run at;
    places(matrix, score_size, start, count, at);
    for (int n = 0; n < count; ++n) {
      const int d = at.low[0][n], h = at.low[1][n], w = at.low[2][n];
      const std::uint8_t shared = cells[d * stride(score_size, 0) + h * stride(score_size, 1) + w];
      out[n] = values[shared != kUndecided ? shared : best(source.around(d, h, w, lane), at, n)];
    }
    for (int n = 0; n < count; ++n) out[n] = is_inside(matrix, score_size, i, j, k + n) ? out[n] : outside;
  }

  VOXEL_FN int best(const Corners<typename Source::Element>& cell, const Run& at, int n) const {
    float top = -infinity();
    int label = 0;
    for (int c = 0; c < classes; ++c) {
      const float score = interpolated(cell, c, at.part[0][n], at.part[1][n], at.part[2][n]);
      label = score > top ? c : label;
      top = score > top ? score : top;
    }
    return label;
  }
};

}  // namespace
}  // namespace zeus
