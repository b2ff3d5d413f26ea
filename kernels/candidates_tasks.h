// The box of candidates on a CPU: sets straight from features, and a box for every lane.
#pragma once

#include "candidates.h"
#include "product_cache.h"

namespace zeus {
namespace {

// The set of every voxel, from features; no score is kept.
template <class S>
struct BeatenProducts {
  static constexpr int kWidth = 32;      // voxels worked on together; their scores stay in registers
  static constexpr int kPart = 1 << 13;  // voxels of one task

  Scores scores;
  int target;
  std::uint32_t* sets;
  float* lanes;  // (features, kWidth) of every lane

  VOXEL_FN BeatenProducts(const CandidateBox& given, int threads)
      : scores(given.scores), target(given.target) {
    layout(reinterpret_cast<std::uintptr_t>(given.scratch), threads);
  }

  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch, int threads) {
    const CandidateMaps maps = candidate_maps(scratch, scores);
    sets = maps.sets;
    Carver carver = {maps.end};
    lanes = carver.take<float>(lane_size() * threads);
    return carver.at;
  }

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return (voxels(scores.size) + kPart - 1) / kPart; }

  VOXEL_FN void task(std::int64_t task, int lane) const {
    const std::int64_t end = smaller((task + 1) * kPart, voxels(scores.size));
    for (std::int64_t first = task * kPart; first < end; first += kWidth)
      part(first, int(smaller<std::int64_t>(kWidth, end - first)), lanes + lane * lane_size());
  }

 private:
  VOXEL_FN std::int64_t lane_size() const { return std::int64_t(scores.features) * kWidth + 16; }

  VOXEL_FN void part(std::int64_t first, int count, float* x) const {
    load_features<kWidth, S>(scores, first, count, x);
    float own[2 * kWidth], pair[2 * kWidth];
    std::uint32_t set[kWidth];
    score_classes<kWidth>(scores, x, target, own);
    for (int word = 0; word < set_words(scores.classes); ++word) {
      for (int n = 0; n < kWidth; ++n) set[n] = 0;
      for (int c = word * kSetBits; c < smaller(scores.classes, (word + 1) * kSetBits); ++c) {
        if (c % 2 == 0) score_classes<kWidth>(scores, x, c, pair);
        if (c == target) continue;
        const float* const row = pair + c % 2 * kWidth;
        const std::uint32_t bit = 1u << c % kSetBits;
        for (int n = 0; n < kWidth; ++n) set[n] |= beats(row[n], own[n], c < target) & bit;
      }
      std::uint32_t* const out = sets + word * voxels(scores.size) + first;
      for (int n = 0; n < count; ++n) out[n] = set[n];
    }
  }
};

// A box for every lane, behind everything else in the scratch; merged when all are done.
struct BoxLanes {
  static constexpr int kApart = 8;  // numbers from one lane's box to the next: a line of memory

  BoxRows<PlainSums> rows;
  std::int64_t* boxes;
  int lanes;

  VOXEL_FN BoxLanes(const CandidateBox& given, int threads) : rows(given, threads), lanes(threads) {
    layout(candidate_maps(given).end, threads);
  }

  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch, int threads) {
    Carver carver = {scratch};
    boxes = carver.take<std::int64_t>(std::int64_t(threads) * kApart);
    return carver.at;
  }

  VOXEL_FN void ready() {
    for (int lane = 0; lane < lanes; ++lane) clear(boxes + lane * kApart);
  }
  VOXEL_FN std::int64_t tasks() const { return rows.cells(0); }
  VOXEL_FN void task(std::int64_t d, int lane) const {
    for (int h = 0; h < rows.cells(1); ++h) rows.row(int(d), h, boxes + lane * kApart);
  }

  VOXEL_FN void merge() const {
    clear(rows.box);
    for (int lane = 0; lane < lanes; ++lane)
      for (int n = 0; n < 3; ++n) {
        PlainSums::lower(rows.box + n, boxes[lane * kApart + n]);
        PlainSums::raise(rows.box + 3 + n, boxes[lane * kApart + 3 + n]);
      }
  }

 private:
  VOXEL_FN void clear(std::int64_t* box) const {
    const BoxClear empty = {box, rows.size};
    for (std::int64_t n = 0; n < empty.extent(); ++n) empty(n);
  }
};

}  // namespace
}  // namespace zeus
