// Scores made from features while they are needed: winners in one pass, then segments of rows in a cache.
//
// Only cells along surfaces read scores, and neighbouring cells read the same ones. A lane keeps the segments
// it made last, so most scores inside structures are made once (for the winners) and forgotten.
#pragma once

#include "label.h"

namespace zeus {
namespace {

// Scores of two classes at `width` voxels, in the order of operations that scores.h states. `x` holds the
// features, (features, width); out[n] and out[width + n] are filled.
template <int width>
VOXEL_FN void score_pair(const float* __restrict x, const float* __restrict v, const float* __restrict u,
                         int features, const float* bias, float* __restrict out) {
  float a[width], b[width];
  for (int n = 0; n < width; ++n) {
    a[n] = x[n] * v[0];
    b[n] = x[n] * u[0];
  }
  for (int f = 1; f < features; ++f)
    for (int n = 0; n < width; ++n) {
      a[n] += x[f * width + n] * v[f];
      b[n] += x[f * width + n] * u[f];
    }
  for (int n = 0; n < width; ++n) {
    out[n] = a[n] + bias[0];
    out[width + n] = b[n] + bias[1];
  }
}

// Features of `count` voxels from voxel `first`, (features, width); zeros behind them.
template <int width, class S>
VOXEL_FN void load_features(const Scores& given, std::int64_t first, int count, float* x) {
  const S* from = static_cast<const S*>(given.data) + first;
  for (int f = 0; f < given.features; ++f, from += voxels(given.size), x += width) {
    load_row(from, count, x);
    for (int n = count; n < width; ++n) x[n] = 0;
  }
}

// Scores of classes `c` and `c + 1`; behind the last class, its own once more.
template <int width>
VOXEL_FN void score_classes(const Scores& given, const float* x, int c, float* out) {
  const int other = smaller(c + 1, given.classes - 1);
  const float bias[2] = {given.biases[c], given.biases[other]};
  score_pair<width>(x, given.vectors + std::int64_t(c) * given.features,
                    given.vectors + std::int64_t(other) * given.features, given.features, bias, out);
}

// The guarded argmax of every voxel, without keeping a score.
template <class S>
struct ProductWinners {
  static constexpr int kWidth = 32;      // voxels worked on together; their scores stay in registers
  static constexpr int kPart = 1 << 13;  // voxels of one task

  Scores scores;
  std::uint8_t* winners;
  std::int64_t begin, end;  // voxels that are asked for
  float* lanes;             // (features, kWidth) of every lane

  VOXEL_FN ProductWinners(const Label& given, int threads)
      : scores(given.scores),
        begin(score_planes(given).first * stride(scores.size, 0)),
        end(score_planes(given).last * stride(scores.size, 0)) {
    layout(reinterpret_cast<std::uintptr_t>(given.scratch), threads);
  }

  // Behind the cell maps, where the label kernels put their own when this one is done.
  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch, int threads) {
    const CellMaps maps = cell_maps(scratch, scores.size);
    winners = maps.winners;
    Carver carver = {maps.end};
    lanes = carver.take<float>(lane_size() * threads);
    return carver.at;
  }

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return (end - begin + kPart - 1) / kPart; }

  VOXEL_FN void task(std::int64_t task, int lane) const {
    const std::int64_t last = smaller(begin + (task + 1) * kPart, end);
    for (std::int64_t first = begin + task * kPart; first < last; first += kWidth)
      part(first, int(smaller<std::int64_t>(kWidth, last - first)), lanes + lane * lane_size());
  }

 private:
  VOXEL_FN std::int64_t lane_size() const { return std::int64_t(scores.features) * kWidth + 16; }

  VOXEL_FN void part(std::int64_t first, int count, float* x) const {
    load_features<kWidth, S>(scores, first, count, x);
    float best[kWidth], lower[kWidth], pair[2 * kWidth];
    int label[kWidth];
    for (int n = 0; n < kWidth; ++n) {
      best[n] = lower[n] = -infinity();
      label[n] = 0;
    }
    for (int c = 0; c < scores.classes; ++c) {
      if (c % 2 == 0) score_classes<kWidth>(scores, x, c, pair);
      const float* const row = pair + c % 2 * kWidth;
      for (int n = 0; n < kWidth; ++n) take_score<true>(row[n], c, best[n], lower[n], label[n]);
    }
    for (int n = 0; n < count; ++n) winners[first + n] = sure_winner(best[n], lower[n], label[n]);
  }
};

// Scores around a cell, from segments of rows that are made at their first use and then kept for a while.
template <class S>
struct CachedProducts {
  using Element = float;
  static constexpr int kCells = 16;          // of a segment; it has one voxel more
  static constexpr int kWidth = kCells + 8;  // floats between two classes
  static constexpr int kMostSegments = 32;   // of one row that are kept

  Scores scores;
  std::int64_t* tags;  // of every lane and slot: which segment it holds
  float* values;       // of every lane: features of one segment, then slots
  int lanes, rows, segments;

  VOXEL_FN explicit CachedProducts(const Scores& given) : scores(given) {}

  // Keeps `kept` neighbouring rows along each of the first two axes, a power of two.
  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch, int threads, int kept) {
    rows = kept;
    segments = smaller((scores.size.axis[2] + kCells - 1) / kCells, int(kMostSegments));
    lanes = threads;
    Carver carver = {scratch};
    tags = carver.take<std::int64_t>(std::int64_t(lanes) * slots());
    values = carver.take<float>(lanes * lane_size());
    return carver.at;
  }

  VOXEL_FN void ready() {
    for (std::int64_t n = 0; n < std::int64_t(lanes) * slots(); ++n) tags[n] = -1;
  }

  // `w` and what is read after it lie in one segment.
  VOXEL_FN Corners<float> around(int d, int h, int w, int lane) const {
    const int up = smaller(d + 1, scores.size.axis[0] - 1), side = smaller(h + 1, scores.size.axis[1] - 1);
    const int segment = w / kCells, at = w % kCells;
    return {{found(d, h, segment, lane) + at, found(up, h, segment, lane) + at,
             found(d, side, segment, lane) + at, found(up, side, segment, lane) + at},
            kWidth,
            scores.size.axis[2] > 1};
  }

 private:
  VOXEL_FN int slots() const { return rows * rows * segments; }
  VOXEL_FN std::int64_t slot_size() const {
    return std::int64_t(scores.classes + 1) * kWidth;
  }  // whole pairs
  VOXEL_FN std::int64_t lane_size() const {
    return std::int64_t(scores.features) * kWidth + slots() * slot_size() + 16;
  }

  VOXEL_FN const float* found(int d, int h, int segment, int lane) const {
    const int slot = ((d & (rows - 1)) * rows + (h & (rows - 1))) * segments + segment % segments;
    float* const x = values + lane * lane_size();
    float* const out = x + std::int64_t(scores.features) * kWidth + slot * slot_size();
    const std::int64_t first =
        d * stride(scores.size, 0) + h * stride(scores.size, 1) + std::int64_t(segment) * kCells;
    std::int64_t& tag = tags[std::int64_t(lane) * slots() + slot];
    if (tag != first) {
      tag = first;
      load_features<kWidth, S>(scores, first, smaller(kCells + 1, scores.size.axis[2] - segment * kCells), x);
      for (int c = 0; c < scores.classes; c += 2) score_classes<kWidth>(scores, x, c, out + c * kWidth);
    }
    return out;
  }
};

}  // namespace
}  // namespace zeus
