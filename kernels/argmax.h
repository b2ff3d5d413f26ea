// The class of highest score at every voxel; the lowest class wins a tie and NaN never wins.
#pragma once

#include "core/rows.h"

namespace zeus {

// The arguments as they come from a caller.
struct Argmax {
  const void* scores;  // (classes, voxels)
  Real type;
  int classes;
  std::int64_t voxels;
  const void* values;  // label of each class
  void* result;        // (voxels)
  LabelValue label;    // type of both
};

namespace {

constexpr std::uint8_t kUndecided = 255;  // no class: there are at most 255
constexpr float kSlack = 2e-6f;           // above the rounding of a trilinear sum, 12 x 2^-24 relative
constexpr float kTiny = 1e-37f;           // above its rounding near zero

// At least what rounding can make of x, and at most.
VOXEL_FN float at_most(float x) {
  return x * (x < 0 ? 1 - kSlack : 1 + kSlack) + kTiny;
}
VOXEL_FN float at_least(float x) {
  return x * (x < 0 ? 1 + kSlack : 1 - kSlack) - kTiny;
}

// A voxel's state while classes are gone through in order. `lower` ends as the best score among the classes
// below the winner.
template <bool guarded>
VOXEL_FN void take_score(float score, int c, float& best, float& lower, int& label) {
  const bool wins = score > best;
  if (guarded) lower = wins ? best : lower;
  best = wins ? score : best;
  label = wins ? c : label;
}

// The winner, unless rounding in an interpolation could make it tie with a lower class, or it is infinite.
VOXEL_FN std::uint8_t sure_winner(float best, float lower, int label) {
  const bool sure = (at_least(best) > at_most(lower)) & (best < infinity());
  return sure ? std::uint8_t(label) : kUndecided;
}

// With `guarded`, the sure winner instead of its label; `values` is not used.
template <class S, class R, bool guarded>
struct ArgmaxOf {
  static constexpr int kPart = 1024;  // voxels worked on together; its state stays in the first cache

  const S* scores;
  int classes;
  std::int64_t size;
  const R* values;
  R* result;

  VOXEL_FN explicit ArgmaxOf(const Argmax& given, int)
      : scores(static_cast<const S*>(given.scores)),
        classes(given.classes),
        size(given.voxels),
        values(static_cast<const R*>(given.values)),
        result(static_cast<R*>(given.result)) {}

  VOXEL_FN std::int64_t extent() const { return size; }

  VOXEL_FN void operator()(std::int64_t voxel) const {
    float best = -infinity(), lower = -infinity();
    int label = 0;
    for (int c = 0; c < classes; ++c)
      take_score<guarded>(real_value(scores[c * size + voxel]), c, best, lower, label);
    result[voxel] = named(best, lower, label);
  }

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return (size + kPart - 1) / kPart; }

  VOXEL_FN void task(std::int64_t task, int) const {
    const std::int64_t first = task * kPart;
    const int count = int(smaller<std::int64_t>(kPart, size - first));
    float row[kPart], best[kPart], lower[kPart];
    int label[kPart];
    for (int n = 0; n < count; ++n) {
      best[n] = lower[n] = -infinity();
      label[n] = 0;
    }
    for (int c = 0; c < classes; ++c) {
      load_row(scores + c * size + first, count, row);
      for (int n = 0; n < count; ++n) take_score<guarded>(row[n], c, best[n], lower[n], label[n]);
    }
    for (int n = 0; n < count; ++n) result[first + n] = named(best[n], lower[n], label[n]);
  }

 private:
  VOXEL_FN R named(float best, float lower, int label) const {
    return guarded ? R(sure_winner(best, lower, label)) : values[label];
  }
};

}  // namespace
}  // namespace zeus
