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

  // `plane` counts tile planes of every class; the class past the last is the weight itself.
  VOXEL_FN void operator()(std::int64_t plane, int j, int k) const {
    const std::int64_t c = plane / tile_size.axis[0], i = plane % tile_size.axis[0];
    const std::int64_t from = (i * tile_size.axis[1] + j) * tile_size.axis[2] + k;
    const std::int64_t to =
        ((i + origin.axis[0]) * sum_size.axis[1] + j + origin.axis[1]) * sum_size.axis[2] + k +
        origin.axis[2];
    if (c < classes)
      sum[c * voxels(sum_size) + to] += weight[from] * tile[c * voxels(tile_size) + from];
    else
      weight_sum[to] += weight[from];
  }

  VOXEL_FN void ready() {}
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
  VOXEL_FN void operator()(int c, std::int64_t voxel) const {
    sum[c * size + voxel] = divided(sum[c * size + voxel], weight_sum[voxel]);
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
