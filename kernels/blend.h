// Sliding-window blending: add weighted tiles of scores into sums, then divide by the summed weights.
#pragma once

#include "core/voxel.h"

namespace zeus {

struct BlendAdd {
  const float* tile;    // (classes, tile_size)
  const float* weight;  // (tile_size)
  float* sum;           // (classes, sum_size)
  float* weight_sum;    // (sum_size)
  int classes;
  Size3 tile_size, sum_size;
  Size3 origin;  // voxel of the sum that the tile's first voxel covers

  VOXEL_FN Size3 extent() const { return tile_size; }

  // A voxel of the tile in every class, so that its weight is read once.
  VOXEL_FN void operator()(int i, int j, int k) const {
    const std::int64_t from = (std::int64_t(i) * tile_size.axis[1] + j) * tile_size.axis[2] + k;
    const std::int64_t to =
        (std::int64_t(i + origin.axis[0]) * sum_size.axis[1] + j + origin.axis[1]) * sum_size.axis[2] + k +
        origin.axis[2];
    const float by = weight[from];
    for (int c = 0; c < classes; ++c)
      sum[c * voxels(sum_size) + to] += by * tile[c * voxels(tile_size) + from];
    weight_sum[to] += by;
  }

  VOXEL_FN void ready() {}
  // A task is a plane of the tile in one class; the class past the last is the weight itself.
  VOXEL_FN std::int64_t tasks() const { return std::int64_t(classes + 1) * tile_size.axis[0]; }
  VOXEL_FN void task(std::int64_t plane, int) const {
    const std::int64_t c = plane / tile_size.axis[0], i = plane % tile_size.axis[0];
    for (int j = 0; j < tile_size.axis[1]; ++j) {
      const std::int64_t from = (i * tile_size.axis[1] + j) * tile_size.axis[2];
      const std::int64_t to =
          ((i + origin.axis[0]) * sum_size.axis[1] + j + origin.axis[1]) * sum_size.axis[2] + origin.axis[2];
      const float* __restrict w = weight + from;
      const float* __restrict t = tile + (c < classes ? c * voxels(tile_size) + from : 0);
      float* __restrict s = c < classes ? sum + c * voxels(sum_size) + to : weight_sum + to;
      if (c < classes)
        for (int k = 0; k < tile_size.axis[2]; ++k) s[k] += w[k] * t[k];
      else
        for (int k = 0; k < tile_size.axis[2]; ++k) s[k] += w[k];
    }
  }
};

struct BlendNormalise {
  static constexpr int kPart = 1 << 14;  // voxels of one task

  float* sum;               // (classes, voxels)
  const float* weight_sum;  // (voxels)
  int classes;
  std::int64_t size;

  VOXEL_FN static float divided(float sum, float weight) {
    const float quotient = sum / (weight != 0 ? weight : 1.0f);
    return weight != 0 ? quotient : 0.0f;
  }

  VOXEL_FN std::int64_t extent() const { return size; }

  // A voxel in every class.
  VOXEL_FN void operator()(std::int64_t voxel) const {
    const float by = weight_sum[voxel];
    for (int c = 0; c < classes; ++c) sum[c * size + voxel] = divided(sum[c * size + voxel], by);
  }

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return (size + kPart - 1) / kPart; }
  VOXEL_FN void task(std::int64_t task, int) const {
    const int count = int(smaller<std::int64_t>(kPart, size - task * kPart));
    const float* __restrict w = weight_sum + task * kPart;
    for (int c = 0; c < classes; ++c) {
      float* __restrict s = sum + c * size + task * kPart;
      for (int n = 0; n < count; ++n) s[n] = divided(s[n], w[n]);
    }
  }
};

}  // namespace zeus
