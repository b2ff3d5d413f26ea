// Prepare for any affine map: positions of a run of voxels are found together, then each is sampled.
#pragma once

#include "core/rows.h"
#include "prepare.h"

namespace zeus {
namespace {

template <class T, class R>
struct PrepareOblique {
  static constexpr int kRows = 8;  // of one task, along i and along j

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

  // A task is a block of rows. Runs of one k are done together: whichever source axis is contiguous, its
  // cache lines are used by several voxels while they are near.
  VOXEL_FN std::int64_t tasks() const { return std::int64_t(blocks(0)) * blocks(1); }

  VOXEL_FN void task(std::int64_t task, int) const {
    const int i0 = int(task / blocks(1)) * kRows, j0 = int(task % blocks(1)) * kRows;
    const int i1 = smaller(i0 + kRows, result_size.axis[0]), j1 = smaller(j0 + kRows, result_size.axis[1]);
    for (int k = 0; k < result_size.axis[2]; k += Run::kLength)
      for (int i = i0; i < i1; ++i)
        for (int j = j0; j < j1; ++j) {
          const int count = smaller(int(Run::kLength), result_size.axis[2] - k);
          float values[Run::kLength];
          run(i, j, k, count, values);
          store_row(values, count, result + i * stride(result_size, 0) + j * stride(result_size, 1) + k);
        }
  }

 private:
  VOXEL_FN int blocks(int axis) const { return (result_size.axis[axis] + kRows - 1) / kRows; }

  VOXEL_FN void run(int i, int j, int k, int count, float* __restrict values) const {
    bool meets = false;
    for (int n = 0; n < count; ++n) meets |= is_inside(matrix, source_size, i, j, k + n);
    if (!meets) {  // many samples are only taken where there is something to see
      for (int n = 0; n < count; ++n) values[n] = intensity.outside;
      return;
    }
    Run at;
    const float share = 1.0f / float(samples[0] * samples[1] * samples[2]);
    for (int n = 0; n < count; ++n) values[n] = 0;
    for (int a = 0; a < samples[0]; ++a)
      for (int b = 0; b < samples[1]; ++b)
        for (int c = 0; c < samples[2]; ++c) {
          const double start[3] = {i + sample_offset(a, samples[0]), j + sample_offset(b, samples[1]),
                                   k + sample_offset(c, samples[2])};
          places(matrix, source_size, start, count, at);
          if (intensity.empty != 0)
            add_samples<true>(at, count, share, values);
          else
            add_samples<false>(at, count, share, values);
        }
    for (int n = 0; n < count; ++n) {
      const float value = finish(intensity, values[n]);
      values[n] = is_inside(matrix, source_size, i, j, k + n) ? value : intensity.outside;
    }
  }

  // First the eight corners of every voxel are collected, then all are mixed: only the first part is scalar.
  template <bool hollow>
  VOXEL_FN void add_samples(const Run& at, int count, float share, float* __restrict values) const {
    const std::int64_t s0 = stride(source_size, 0), s1 = stride(source_size, 1);
    const std::int64_t z = source_size.axis[0] > 1 ? s0 : 0, y = source_size.axis[1] > 1 ? s1 : 0;
    const std::int64_t x = source_size.axis[2] > 1 ? 1 : 0;
    T corner[8][Run::kLength];
    for (int n = 0; n < count; ++n) {
      const T* const p = source + at.low[0][n] * s0 + at.low[1][n] * s1 + at.low[2][n];
      corner[0][n] = p[0];
      corner[1][n] = p[x];
      corner[2][n] = p[y];
      corner[3][n] = p[y + x];
      corner[4][n] = p[z];
      corner[5][n] = p[z + x];
      corner[6][n] = p[z + y];
      corner[7][n] = p[z + y + x];
    }
    for (int n = 0; n < count; ++n) {
      const float tx = at.part[2][n], ty = at.part[1][n], tz = at.part[0][n];
      const float a = mix(counted<hollow>(corner[0][n], intensity.empty),
                          counted<hollow>(corner[1][n], intensity.empty), tx);
      const float b = mix(counted<hollow>(corner[2][n], intensity.empty),
                          counted<hollow>(corner[3][n], intensity.empty), tx);
      const float c = mix(counted<hollow>(corner[4][n], intensity.empty),
                          counted<hollow>(corner[5][n], intensity.empty), tx);
      const float d = mix(counted<hollow>(corner[6][n], intensity.empty),
                          counted<hollow>(corner[7][n], intensity.empty), tx);
      values[n] += share * mix(mix(a, b, ty), mix(c, d, ty), tz);  // a sum of samples could overflow
    }
  }
};

}  // namespace
}  // namespace zeus
