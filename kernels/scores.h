// Where class scores come from: an array, or features that are compared with one vector per class.
//
// With vectors, the score of a class at a voxel is ((f0 * v0 + f1 * v1) + ...) + bias: float32, features in
// their order, every product and every sum rounded. A CPU makes scores a few voxels at a time, where they are
// needed (see product_cache.h); a CUDA device makes all of them into scratch first.
#pragma once

#include "core/voxel.h"

namespace zeus {

// The arguments as they come from a caller.
struct Scores {
  const void* data;  // (classes, size), or (features, size)
  Real type;
  int classes;
  Size3 size;
  int features;          // 0 where `data` holds the scores themselves
  const float* vectors;  // (classes, features)
  const float* biases;   // (classes)
};

namespace {

// The scores at the corners of one cell. Class c at (d + z, h + y, w + x) is row[z + 2 * y][x * over + c *
// apart]; neighbours along w lie side by side, up to the end of the window that was asked for.
template <class E>
struct Corners {
  const E* row[4];
  std::int64_t apart;  // elements from one class to the next
  int over;            // 0 where the last axis has one voxel
};

// The score of class `c` inside the cell; parts along its axes are 0 to 1.
template <class E>
VOXEL_FN float interpolated(const Corners<E>& cell, int c, float z, float y, float x) {
  const std::int64_t low = c * cell.apart, high = low + cell.over;
  const float a = mix(real_value(cell.row[0][low]), real_value(cell.row[1][low]), z);
  const float b = mix(real_value(cell.row[0][high]), real_value(cell.row[1][high]), z);
  const float d = mix(real_value(cell.row[2][low]), real_value(cell.row[3][low]), z);
  const float e = mix(real_value(cell.row[2][high]), real_value(cell.row[3][high]), z);
  return mix(mix(a, d, y), mix(b, e, y), x);
}

// Scores that lie in an array.
template <class S>
struct StoredScores {
  using Element = S;

  const S* scores;
  Size3 size;

  VOXEL_FN explicit StoredScores(const Scores& given)
      : scores(static_cast<const S*>(given.data)), size(given.size) {}

  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch, int, int) { return scratch; }
  VOXEL_FN void ready() {}

  VOXEL_FN Corners<S> around(int d, int h, int w, int) const {
    const std::int64_t up = d + 1 < size.axis[0] ? stride(size, 0) : 0,
                       side = h + 1 < size.axis[1] ? stride(size, 1) : 0;
    const S* const p = scores + d * stride(size, 0) + h * stride(size, 1) + w;
    return {{p, p + up, p + side, p + up + side}, voxels(size), size.axis[2] > 1};
  }
};

// Every score, one voxel at a time.
template <class S>
struct ScoreVoxels {
  const S* features;
  const float *vectors, *biases;
  float* scores;  // (classes, size)
  std::int64_t size;
  int classes, channels;

  VOXEL_FN ScoreVoxels(const Scores& given, float* made)
      : features(static_cast<const S*>(given.data)),
        vectors(given.vectors),
        biases(given.biases),
        scores(made),
        size(voxels(given.size)),
        classes(given.classes),
        channels(given.features) {}

  VOXEL_FN std::int64_t extent() const { return size; }

  VOXEL_FN void operator()(std::int64_t voxel) const {
    for (int c = 0; c < classes; ++c) {
      const float* const vector = vectors + std::int64_t(c) * channels;
      float sum = real_value(features[voxel]) * vector[0];
      for (int f = 1; f < channels; ++f) sum += real_value(features[f * size + voxel]) * vector[f];
      scores[c * size + voxel] = sum + biases[c];
    }
  }
};

}  // namespace
}  // namespace zeus
