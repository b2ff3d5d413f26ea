// What preparing one scan for a network means, shared by the aligned and the oblique kernel.
//
// result(p) = clamp((slope * value(p) + intercept - shift) * gain, low, high), where value(p) is the
// trilinear mean of stored voxels around p and voxels whose centre lies outside the scan become `outside`.
// Where intensity.empty is not 0, every voxel stored as 0, NaN or infinity counts as that value instead.
// With samples > 1 the value is the mean of samples[0] * samples[1] * samples[2] positions spread over the
// voxel; while they lie at most one source voxel apart, no source voxel is missed.
#pragma once

#include "core/map.h"
#include "core/voxel.h"

namespace zeus {

// The affine part is folded to scale * value + bias, in double, by the caller.
struct Intensity {
  float scale, bias, low, high, outside;
  float empty;  // what a stored 0 counts as, in stored units
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

// Along each axis. Aligned samples cost a weight each, once; oblique ones are all taken, in every voxel.
constexpr int kMostAlignedSamples = 256, kMostObliqueSamples = 16;

VOXEL_FN int most_samples(const Matrix34& matrix, const Size3& result) {
  return axis_map(matrix, result).aligned ? kMostAlignedSamples : kMostObliqueSamples;
}

VOXEL_FN float finish(const Intensity& intensity, float value) {
  return clamp(value * intensity.scale + intensity.bias, intensity.low, intensity.high);
}

// A stored voxel as it counts; without `hollow`, `empty` is known to be 0.
template <bool hollow, class T>
VOXEL_FN float counted(T voxel, float empty) {
  const float value = stored_value(voxel);
  return hollow && value == 0 ? empty : value;
}

template <class T>
VOXEL_FN float counted(T voxel, float empty) {
  const float value = stored_value(voxel);
  return (value == 0) & (empty != 0) ? empty : value;  // keeps the sign of a stored -0
}

// Where sample s of n lies in its voxel, -0.5 to 0.5.
VOXEL_FN double sample_offset(int s, int n) {
  return (s + 0.5) / n - 0.5;
}

}  // namespace
}  // namespace zeus
