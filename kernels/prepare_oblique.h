// Prepare for any affine map: positions of a run of voxels are found together, then each is sampled.
#pragma once

#include "core/rows.h"
#include "prepare.h"

namespace zeus {
namespace {

template <class T, class R>
struct PrepareOblique {
  static constexpr int kRows = 8;  // rows of one task

  const T* source;
  Size3 source_size;
  R* result;
  Size3 result_size;
  Matrix34 matrix;
  int samples[3];
  Intensity intensity;

  VOXEL_FN explicit PrepareOblique(const Prepare& given, int)
      : source(static_cast<const T*>(given.source)),
        source_size(given.source_size),
        result(static_cast<R*>(given.result)),
        result_size(given.result_size),
        matrix(given.matrix),
        intensity(given.intensity) {
    for (int n = 0; n < 3; ++n) samples[n] = given.samples[n];
  }

  VOXEL_FN void ready() {}
  VOXEL_FN Size3 extent() const { return result_size; }

  VOXEL_FN void operator()(int i, int j, int k) const {
    float value;
    run(i, j, k, 1, &value);
    store_real(value, result[(std::int64_t(i) * result_size.axis[1] + j) * result_size.axis[2] + k]);
  }

  VOXEL_FN std::int64_t tasks() const { return (rows() + kRows - 1) / kRows; }

  VOXEL_FN void task(std::int64_t task, int) const {
    const std::int64_t end = smaller((task + 1) * kRows, rows());
    for (std::int64_t row = task * kRows; row < end; ++row) {
      const int i = int(row / result_size.axis[1]), j = int(row % result_size.axis[1]);
      for (int k = 0; k < result_size.axis[2]; k += Run::kLength) {
        const int count = smaller(int(Run::kLength), result_size.axis[2] - k);
        float values[Run::kLength];
        run(i, j, k, count, values);
        store_row(values, count, result + row * result_size.axis[2] + k);
      }
    }
  }

 private:
  VOXEL_FN std::int64_t rows() const { return std::int64_t(result_size.axis[0]) * result_size.axis[1]; }

  VOXEL_FN void run(int i, int j, int k, int count, float* __restrict values) const {
    Run at;
    for (int n = 0; n < count; ++n) values[n] = 0;
    for (int a = 0; a < samples[0]; ++a)
      for (int b = 0; b < samples[1]; ++b)
        for (int c = 0; c < samples[2]; ++c) {
          const double start[3] = {i + sample_offset(a, samples[0]), j + sample_offset(b, samples[1]),
                                   k + sample_offset(c, samples[2])};
          places(matrix, source_size, start, count, at);
          for (int n = 0; n < count; ++n) values[n] += sample(at, n);
        }
    const float share = 1.0f / float(samples[0] * samples[1] * samples[2]);
    for (int n = 0; n < count; ++n) {
      const float value = finish(intensity, values[n] * share);
      values[n] = is_inside(matrix, source_size, i, j, k + n) ? value : intensity.outside;
    }
  }

  VOXEL_FN float sample(const Run& at, int n) const {
    const std::int64_t s0 = stride(source_size, 0), s1 = stride(source_size, 1);
    const std::int64_t h0 = source_size.axis[0] > 1 ? s0 : 0, h1 = source_size.axis[1] > 1 ? s1 : 0;
    const std::int64_t h2 = source_size.axis[2] > 1 ? 1 : 0;
    const T* p = source + at.low[0][n] * s0 + at.low[1][n] * s1 + at.low[2][n];
    const float x = at.part[2][n], y = at.part[1][n], z = at.part[0][n];
    const float a = mix(stored_value(p[0]), stored_value(p[h2]), x);
    const float b = mix(stored_value(p[h1]), stored_value(p[h1 + h2]), x);
    const float c = mix(stored_value(p[h0]), stored_value(p[h0 + h2]), x);
    const float d = mix(stored_value(p[h0 + h1]), stored_value(p[h0 + h1 + h2]), x);
    return mix(mix(a, b, y), mix(c, d, y), z);
  }
};

}  // namespace
}  // namespace zeus
