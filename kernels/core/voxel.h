// The vocabulary every kernel is written in: sizes, stored types, rounding-safe arithmetic.
//
// Everything here is plain arithmetic that nvcc compiles too. Nothing has external linkage and nothing
// comes from a standard template, so builds for different instruction sets share no inline symbol.
#pragma once

#if defined(__CUDACC_RTC__)  // NVRTC: no standard headers, and none of GCC's builtins
namespace std {
using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
using uintptr_t = unsigned long long;
}  // namespace std
#else
#include <cstdint>
#endif

#if defined(__CUDACC__)
#define VOXEL_FN __host__ __device__ __forceinline__
#elif defined(_MSC_VER)
#define VOXEL_FN __forceinline
#else
#define VOXEL_FN inline __attribute__((always_inline))
#endif

namespace zeus {

// Voxels along each axis of an array; the last axis varies fastest in memory.
struct Size3 {
  std::int32_t axis[3];
};

// Neighbours along one axis, [first, last).
struct Span {
  std::int32_t first, last;
};

// Index in one array to (fractional) index in another: row n gives axis n.
struct Matrix34 {
  double row[3][4];
};

// The bits of an IEEE half; arithmetic is always done in float.
struct Half {
  std::uint16_t bits;
};

// The upper half of the bits of a float.
struct Bfloat16 {
  std::uint16_t bits;
};

enum class Stored { int8, uint8, int16, uint16, int32, float32 };
enum class Real { float32, float16, bfloat16 };
enum class LabelValue { uint8, uint16 };

namespace {

VOXEL_FN std::int64_t voxels(const Size3& size) {
  return std::int64_t(size.axis[0]) * size.axis[1] * size.axis[2];
}

// Elements from one voxel to the next along `axis`.
VOXEL_FN std::int64_t stride(const Size3& size, int axis) {
  return axis == 2 ? 1 : axis == 1 ? size.axis[2] : std::int64_t(size.axis[1]) * size.axis[2];
}

template <class T>
VOXEL_FN T smaller(T a, T b) {
  return a < b ? a : b;
}

template <class T>
VOXEL_FN T larger(T a, T b) {
  return a > b ? a : b;
}

#if defined(__CUDACC_RTC__)
VOXEL_FN std::uint32_t bits_of(float value) {
  return __float_as_uint(value);
}

VOXEL_FN float float_of(std::uint32_t bits) {
  return __uint_as_float(bits);
}
#else
VOXEL_FN std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

VOXEL_FN float float_of(std::uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
#endif

VOXEL_FN float infinity() {
  return float_of(0x7f800000u);
}

// Weighted form on purpose: rounding keeps it monotone in `a` and `b`, which a + t * (b - a) is not.
VOXEL_FN float mix(float a, float b, float t) {
  return a * (1.0f - t) + b * t;
}

// NaN becomes `low`.
VOXEL_FN float clamp(float x, float low, float high) {
  x = x > low ? x : low;
  return x < high ? x : high;
}

// A stored voxel as float; NaN and infinity count as a stored 0.
template <class T>
VOXEL_FN float stored_value(T voxel) {
  return float(voxel);
}
VOXEL_FN float stored_value(float voxel) {
  return (bits_of(voxel) & 0x7f800000u) == 0x7f800000u ? 0.0f : voxel;
}

// Exact. Avoids subnormal floats, so a caller's flush-to-zero mode changes nothing.
VOXEL_FN float real_value(float value) {
  return value;
}
VOXEL_FN float real_value(Half half) {
  const std::uint32_t magnitude = half.bits & 0x7fffu, shifted = magnitude << 13;
  const float subnormal = float_of(0x38800000u | shifted) - float_of(0x38800000u);
  const std::uint32_t normal = shifted + (magnitude >= 0x7c00u ? 224u << 23 : 112u << 23);
  const std::uint32_t bits = magnitude < 0x400u ? bits_of(subnormal) : normal;
  return float_of(bits | std::uint32_t(half.bits & 0x8000u) << 16);
}

// Exact. Subnormal values stay subnormal floats, as those of a float array do.
VOXEL_FN float real_value(Bfloat16 value) {
  return float_of(std::uint32_t(value.bits) << 16);
}

// Round to nearest, ties to even, as VCVTPS2PH and CUDA's __float2half_rn do.
VOXEL_FN void store_real(float value, float& result) {
  result = value;
}
VOXEL_FN void store_real(float value, Half& result) {
  const std::uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
  const std::uint32_t subnormal = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  const std::uint32_t normal = (magnitude + 0xc8000fffu + (magnitude >> 13 & 1u)) >> 13;
  const std::uint32_t huge = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const std::uint32_t half = magnitude >= 0x47800000u ? huge : magnitude < 0x38800000u ? subnormal : normal;
  result.bits = std::uint16_t(half | (bits >> 16 & 0x8000u));
}

// The same rounding; a carry out of the fraction is right, up to infinity. Quiet NaN keeps its upper bits.
VOXEL_FN void store_real(float value, Bfloat16& result) {
  const std::uint32_t bits = bits_of(value), rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  result.bits = std::uint16_t(nan ? bits >> 16 | 0x40u : rounded);
}

}  // namespace
}  // namespace zeus
