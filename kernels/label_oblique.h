// Label for any affine map: each voxel looks its cell up, and reads scores only where the cell is undecided.
#pragma once

#include "label.h"

namespace zeus {
namespace {

template <class S, class R>
struct LabelOblique {
  static constexpr int kRows = 8;  // rows of one task

  const S* scores;
  int classes;
  Size3 score_size;
  R* result;
  Size3 result_size;
  Matrix34 matrix;
  const R* values;
  R outside;
  const std::uint8_t* cells;

  VOXEL_FN explicit LabelOblique(const Label& given, int)
      : scores(static_cast<const S*>(given.scores)),
        classes(given.classes),
        score_size(given.score_size),
        result(static_cast<R*>(given.result)),
        result_size(given.result_size),
        matrix(without_noise(given.matrix, axis_map(given.matrix, given.result_size))),
        values(static_cast<const R*>(given.values)),
        outside(R(given.outside)),
        cells(cell_maps(reinterpret_cast<std::uintptr_t>(given.scratch), given.score_size).cells) {}

  VOXEL_FN void ready() {}
  VOXEL_FN Size3 extent() const { return result_size; }

  VOXEL_FN void operator()(int i, int j, int k) const {
    run(i, j, k, 1, result + (std::int64_t(i) * result_size.axis[1] + j) * result_size.axis[2] + k);
  }

  VOXEL_FN std::int64_t tasks() const { return (rows() + kRows - 1) / kRows; }

  VOXEL_FN void task(std::int64_t task, int) const {
    const std::int64_t end = smaller((task + 1) * kRows, rows());
    for (std::int64_t row = task * kRows; row < end; ++row) {
      const int i = int(row / result_size.axis[1]), j = int(row % result_size.axis[1]);
      for (int k = 0; k < result_size.axis[2]; k += Run::kLength)
        run(i, j, k, smaller(int(Run::kLength), result_size.axis[2] - k),
            result + row * result_size.axis[2] + k);
    }
  }

 private:
  VOXEL_FN std::int64_t rows() const { return std::int64_t(result_size.axis[0]) * result_size.axis[1]; }

  VOXEL_FN void run(int i, int j, int k, int count, R* out) const {
    const double start[3] = {double(i), double(j), double(k)};
    Run at;
    places(matrix, score_size, start, count, at);
    for (int n = 0; n < count; ++n) {
      const std::int64_t cell =
          at.low[0][n] * stride(score_size, 0) + at.low[1][n] * stride(score_size, 1) + at.low[2][n];
      const std::uint8_t shared = cells[cell];
      out[n] = values[shared != kUndecided ? shared : best(scores + cell, at, n)];
    }
    for (int n = 0; n < count; ++n) out[n] = is_inside(matrix, score_size, i, j, k + n) ? out[n] : outside;
  }

  VOXEL_FN int best(const S* p, const Run& at, int n) const {
    const Steps up = steps(score_size);
    const std::int64_t z = up.to[0], y = up.to[1], x = up.to[2], apart = voxels(score_size);
    const float tz = at.part[0][n], ty = at.part[1][n], tx = at.part[2][n];
    float top = -infinity();
    int label = 0;
    for (int c = 0; c < classes; ++c, p += apart) {
      const float a = mix(real_value(p[0]), real_value(p[z]), tz);
      const float b = mix(real_value(p[x]), real_value(p[z + x]), tz);
      const float d = mix(real_value(p[y]), real_value(p[z + y]), tz);
      const float e = mix(real_value(p[y + x]), real_value(p[z + y + x]), tz);
      const float score = mix(mix(a, d, ty), mix(b, e, ty), tx);
      label = score > top ? c : label;
      top = score > top ? score : top;
    }
    return label;
  }
};

}  // namespace
}  // namespace zeus
