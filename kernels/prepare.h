// What preparing one scan for a network means, shared by the aligned and the oblique kernel.
//
// result(p) = clamp((slope * value(p) + intercept - shift) * gain, low, high), where value(p) is the
// trilinear mean of stored voxels around p and voxels whose centre lies outside the scan become `outside`.
// With samples > 1 the value is the mean of samples[0] * samples[1] * samples[2] positions spread over the
// voxel.
#pragma once

#include "core/map.h"
#include "core/voxel.h"

namespace zeus {

// The affine part is folded to scale * value + bias, in double, by the caller.
struct Intensity {
  float scale, bias, low, high, outside;
};

// The arguments as they come from a caller.
struct Prepare {
  const void* source;
  Stored source_type;
  Size3 source_size;
  void* result;
  Real result_type;
  Size3 result_size;
  Matrix34 matrix;  // result index to source index
  int samples[3];   // along each result axis
  Intensity intensity;
  void* scratch;  // of prepare_scratch_bytes()
};

namespace {

VOXEL_FN float finish(const Intensity& intensity, float value) {
  return clamp(value * intensity.scale + intensity.bias, intensity.low, intensity.high);
}

// Where sample s of n lies in its voxel, -0.5 to 0.5.
VOXEL_FN double sample_offset(int s, int n) {
  return (s + 0.5) / n - 0.5;
}

}  // namespace
}  // namespace zeus
