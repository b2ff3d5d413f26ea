// Where one class can win at all: the box of cells in which no other class beats it at all eight corners.
//
// A class that beats the target at every corner of a cell beats it everywhere inside: mix() is monotone under
// rounding, so a lower class needs no more than a tie there; a higher one needs a lead that rounding cannot
// take away (see argmax.h). Score voxels get the set of classes that beat the target, cells the intersection
// of their corners' sets. Outside the box labels are the same whatever else the target scores there.
#pragma once

#include "argmax.h"
#include "core/scratch.h"
#include "gather.h"
#include "scores.h"

namespace zeus {

// The arguments as they come from a caller.
struct CandidateBox {
  Scores scores;
  int target;         // a class
  std::int64_t* box;  // (6) first cell along each axis, and one past the last; the size and 0 where none is
  void* scratch;      // of candidate_maps()
};

namespace {

constexpr float kModerate = 1e38f;  // larger scores may leave float32 in an interpolation, and beat nobody
constexpr int kSetBits = 32;

VOXEL_FN int set_words(int classes) {
  return (classes + kSetBits - 1) / kSetBits;
}

// The first part of the scratch.
struct CandidateMaps {
  std::uint32_t* sets;  // (words, voxels), bit u % 32 of word u / 32: class u beats the target
  std::uintptr_t end;
};

VOXEL_FN CandidateMaps candidate_maps(std::uintptr_t scratch, const Scores& scores) {
  Carver carver = {scratch};
  CandidateMaps maps;
  maps.sets = carver.take<std::uint32_t>(set_words(scores.classes) * voxels(scores.size));
  maps.end = carver.at;
  return maps;
}

VOXEL_FN CandidateMaps candidate_maps(const CandidateBox& given) {
  return candidate_maps(reinterpret_cast<std::uintptr_t>(given.scratch), given.scores);
}

// All bits where `score` beats the target's, else none; NaN beats nobody and nobody beats NaN.
VOXEL_FN std::uint32_t beats(float score, float target, bool is_lower) {
  const bool wins = is_lower ? score >= target : at_least(score) > at_most(target);
  return 0u - std::uint32_t(wins & (score < kModerate) & (score > -kModerate));
}

// The set of every voxel, from scores that lie in an array.
template <class S>
struct BeatenVoxels {
  static constexpr int kPart = 1024;  // voxels worked on together

  const S* scores;
  int classes, target;
  std::int64_t size;
  std::uint32_t* sets;

  VOXEL_FN BeatenVoxels(const CandidateBox& given, int)
      : scores(static_cast<const S*>(given.scores.data)),
        classes(given.scores.classes),
        target(given.target),
        size(voxels(given.scores.size)),
        sets(candidate_maps(given).sets) {}

  VOXEL_FN std::int64_t extent() const { return size; }

  VOXEL_FN void operator()(std::int64_t voxel) const {
    const float own = real_value(scores[target * size + voxel]);
    for (int word = 0; word < set_words(classes); ++word) {
      std::uint32_t set = 0;
      for (int c = word * kSetBits; c < smaller(classes, (word + 1) * kSetBits); ++c)
        if (c != target)
          set |= beats(real_value(scores[c * size + voxel]), own, c < target) & 1u << c % kSetBits;
      sets[word * size + voxel] = set;
    }
  }

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return (size + kPart - 1) / kPart; }

  VOXEL_FN void task(std::int64_t task, int) const {
    const std::int64_t first = task * kPart;
    const int count = int(smaller<std::int64_t>(kPart, size - first));
    float own[kPart], row[kPart];
    std::uint32_t set[kPart];
    load_row(scores + target * size + first, count, own);
    for (int word = 0; word < set_words(classes); ++word) {
      for (int n = 0; n < count; ++n) set[n] = 0;
      for (int c = word * kSetBits; c < smaller(classes, (word + 1) * kSetBits); ++c) {
        if (c == target) continue;
        load_row(scores + c * size + first, count, row);
        for (int n = 0; n < count; ++n) set[n] |= beats(row[n], own[n], c < target) & 1u << c % kSetBits;
      }
      for (int n = 0; n < count; ++n) sets[word * size + first + n] = set[n];
    }
  }
};

// The box of a call before any cell is looked at.
struct BoxClear {
  std::int64_t* box;
  Size3 size;

  VOXEL_FN std::int64_t extent() const { return 6; }
  VOXEL_FN void operator()(std::int64_t n) const { box[n] = n < 3 ? size.axis[n] : 0; }
};

// Cells whose corners share no class that beats the target, a row of them at a time.
template <class Sums>
struct BoxRows {
  const std::uint32_t* sets;
  std::int64_t* box;
  Size3 size;
  int words;

  VOXEL_FN BoxRows(const CandidateBox& given, int)
      : sets(candidate_maps(given).sets),
        box(given.box),
        size(given.scores.size),
        words(set_words(given.scores.classes)) {}

  // Rows of cells; an axis of one voxel has one cell.
  VOXEL_FN int cells(int axis) const { return larger(size.axis[axis] - 1, 1); }
  VOXEL_FN std::int64_t extent() const { return std::int64_t(cells(0)) * cells(1); }
  VOXEL_FN void operator()(std::int64_t n) const { row(int(n / cells(1)), int(n % cells(1)), box); }

  VOXEL_FN void row(int d, int h, std::int64_t* to) const {
    const std::int64_t up = size.axis[0] > 1 ? stride(size, 0) : 0,
                       over = size.axis[1] > 1 ? stride(size, 1) : 0, next = size.axis[2] > 1,
                       start = d * stride(size, 0) + h * stride(size, 1);
    int first = cells(2), last = 0;
    for (int w = 0; w < cells(2); ++w) {
      std::uint32_t left = 0;
      for (int word = 0; word < words; ++word) {
        const std::uint32_t* const a = sets + word * voxels(size) + start + w;
        left |= a[0] & a[next] & a[over] & a[over + next] & a[up] & a[up + next] & a[up + over] &
                a[up + over + next];
      }
      first = left == 0 ? smaller(first, w) : first;
      last = left == 0 ? w + 1 : last;
    }
    if (last == 0) return;
    const int low[3] = {d, h, first}, high[3] = {d + 1, h + 1, last};
    for (int n = 0; n < 3; ++n) {
      Sums::lower(to + n, low[n]);
      Sums::raise(to + 3 + n, high[n]);
    }
  }
};

}  // namespace
}  // namespace zeus
