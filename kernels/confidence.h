// How sure the argmax of one voxel is: its lead over the second class, and the entropy of the softmax.
//
// exp and log come from here, not from a library, so that a sum has the same bits everywhere.
#pragma once

#include "core/voxel.h"

namespace zeus {
namespace {

constexpr float kMarginOne = 65536.0f;      // fixed point of a margin
constexpr float kMostMargin = 8192.0f;      // larger ones count as this
constexpr float kEntropyOne = 16777216.0f;  // fixed point of an entropy in bits
constexpr float kBitsOfE = 1.44269504f;     // log2(e)
constexpr float kLeastPower = -100.0f;      // a class so far behind adds nothing to a float32 sum

// 2^x for x from kLeastPower to 0. Relative error below 2^-21.
// Source: Taylor's series of 2^r for r within half of 0; the first term left out is below 2^-27.
VOXEL_FN float power_of_two(float x) {
  const std::int32_t whole = std::int32_t(x - 0.5f);
  const float r = x - float(whole);
  float sum = 1.52527338e-5f;
  sum = sum * r + 1.54035304e-4f;
  sum = sum * r + 1.33335581e-3f;
  sum = sum * r + 9.61812911e-3f;
  sum = sum * r + 5.55041087e-2f;
  sum = sum * r + 2.40226507e-1f;
  sum = sum * r + 6.93147181e-1f;
  sum = sum * r + 1.0f;
  return sum * float_of(std::uint32_t(whole + 127) << 23);
}

// log2(x) for x from 1 to 2^8. Absolute error below 2^-20.
// Source: log(m) = 2 artanh((m - 1) / (m + 1)) for m from sqrt(1/2) to sqrt(2); the first term left out of
// the series is below 2^-28.
VOXEL_FN float log_two(float x) {
  const std::uint32_t bits = bits_of(x);
  const std::uint32_t whole = (bits - 0x3f3504f3u) >> 23;
  const float m = float_of(bits - (whole << 23));
  const float t = (m - 1.0f) / (m + 1.0f), square = t * t;
  float sum = 0.320598898f;
  sum = sum * square + 0.412198583f;
  sum = sum * square + 0.577078016f;
  sum = sum * square + 0.961796694f;
  sum = sum * square + 2.88539008f;
  return float(std::int32_t(whole)) + t * sum;
}

// Classes in order: the best so far, the best of the others, and the number of the first.
VOXEL_FN void rank(float score, int c, float& best, float& second, int& label) {
  const bool wins = score > best;
  const float other = wins ? best : score;
  second = other > second ? other : second;
  label = wins ? c : label;
  best = wins ? score : best;
}

// Classes in order, once more: sums of 2^x and of x * 2^x, x being how far a class is behind, in bits. NaN is
// as far behind as can be.
VOXEL_FN void spread(float score, float best, float& sum, float& weighted) {
  float behind = (score - best) * kBitsOfE;
  behind = behind > kLeastPower ? behind : kLeastPower;
  const float power = power_of_two(behind);
  sum += power;
  weighted += power * behind;
}

VOXEL_FN bool is_finite(float x) {
  return x - x == 0;
}

// 0 where the best score is not finite: nothing is known there.
VOXEL_FN std::int32_t fixed_margin(float best, float second) {
  float margin = best - second;
  margin = margin < kMostMargin ? margin : kMostMargin;
  return is_finite(best) ? std::int32_t(margin * kMarginOne) : 0;
}

// That of equal classes where the best score is not finite. Error below 2^-14 bits for 255 classes: their
// sums are rounded as often.
VOXEL_FN std::int32_t fixed_entropy(float best, float sum, float weighted, int classes) {
  const bool known = is_finite(best);
  const float total = known ? sum : float(classes);
  float bits = log_two(total) - (known ? weighted : 0.0f) / total;
  bits = bits > 0 ? bits : 0.0f;
  return std::int32_t(bits * kEntropyOne);
}

}  // namespace
}  // namespace zeus
