// Label where the confidence of every voxel is asked for: all classes everywhere, no cell is skipped.
#pragma once

#include "confidence.h"
#include "gather.h"
#include "label.h"

namespace zeus {
namespace {

// What a row adds to the table, gathered over voxels of one label.
template <class R, class Sums>
struct LabelRuns {
  std::int64_t* table;
  Size3 size;
  const R* values;
  std::int32_t row[2];
  int begin = -1;  // of the run that is open
  R label = 0;
  std::int64_t margin = 0, entropy = 0;

  VOXEL_FN void add(int k, R given, std::int32_t more_margin, std::int32_t more_entropy) {
    if (begin >= 0 && given != label) close(k);
    if (begin < 0) {
      begin = k;
      label = given;
    }
    margin += more_margin;
    entropy += more_entropy;
  }

  VOXEL_FN void close(int end) {
    if (begin < 0) return;
    std::int64_t* const entry = table + class_of(label, values) * kGatherColumns;
    add_run<Sums>(entry, size, row, begin, end);
    Sums::add(entry + kGatherMargin, margin);
    Sums::add(entry + kGatherEntropy, entropy);
    begin = -1;
    margin = entropy = 0;
  }
};

template <class Source, class R, class Sums>
struct LabelConfident {
  static constexpr int kSide = 4;     // planes and rows of one task: neighbours read the same cells
  static constexpr int kKept = 4;     // score rows along each axis that a source may keep for them
  static constexpr int kLength = 16;  // voxels of a row worked on together
  static constexpr int kMostClasses = 255;

  Source source;
  int classes;
  Size3 score_size;
  R* result;
  Size3 result_size;
  Matrix34 matrix;
  const R* values;
  R outside;
  std::int64_t* table;

  VOXEL_FN LabelConfident(const Label& given, int threads)
      : source(given.scores),
        classes(given.scores.classes),
        score_size(given.scores.size),
        result(static_cast<R*>(given.result)),
        result_size(given.result_size),
        matrix(without_noise(given.matrix, axis_map(given.matrix, given.result_size))),
        values(static_cast<const R*>(given.values)),
        outside(R(given.outside)),
        table(given.gather.table) {
    layout(reinterpret_cast<std::uintptr_t>(given.scratch), threads);
  }

  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch, int threads) {
    return source.layout(scratch, threads, kKept);
  }

  VOXEL_FN void ready() { source.ready(); }

  // One row: its sums stay with one thread.
  VOXEL_FN std::int64_t extent() const { return std::int64_t(result_size.axis[0]) * result_size.axis[1]; }
  VOXEL_FN void operator()(std::int64_t n) const {
    const int i = int(n / result_size.axis[1]), j = int(n % result_size.axis[1]);
    row(i, j, table, [&](int k, int, auto& runs) { return voxel(i, j, k, runs); });
  }

  VOXEL_FN std::int64_t tasks() const { return std::int64_t(sides(0)) * sides(1); }

  template <class Lanes>
  VOXEL_FN void gathered_task(std::int64_t task, int lane, const Lanes& lanes) const {
    const int i = int(task / sides(1)) * kSide, j = int(task % sides(1)) * kSide;
    for (int a = i; a < smaller(i + kSide, int(result_size.axis[0])); ++a)
      for (int b = j; b < smaller(j + kSide, int(result_size.axis[1])); ++b)
        row(a, b, lanes.of(lane),
            [&](int k, int last, auto& runs) { return part(a, b, k, last, lane, runs); });
  }

 private:
  using Runs = LabelRuns<R, Sums>;

  VOXEL_FN int sides(int axis) const { return (result_size.axis[axis] + kSide - 1) / kSide; }

  VOXEL_FN R* row_of(int i, int j) const {
    return result + (std::int64_t(i) * result_size.axis[1] + j) * result_size.axis[2];
  }

  // make(k, last, runs) labels some voxels from k on, below last, and returns how many.
  template <class Make>
  VOXEL_FN void row(int i, int j, std::int64_t* to, Make make) const {
    const Span inside = row_span(matrix, score_size, i, j, result_size.axis[2]);
    R* const out = row_of(i, j);
    for (int k = 0; k < inside.first; ++k) out[k] = outside;
    Runs runs = {to, result_size, values, {i, j}};
    for (int k = inside.first; k < inside.last;) k += make(k, inside.last, runs);
    runs.close(inside.last);
    for (int k = inside.last; k < result_size.axis[2]; ++k) out[k] = outside;
  }

  VOXEL_FN int voxel(int i, int j, int k, Runs& runs) const {
    Run at;
    const double start[3] = {double(i), double(j), double(k)};
    places(matrix, score_size, start, 1, at);
    const Corners<typename Source::Element> cell = source.around(at.low[0][0], at.low[1][0], at.low[2][0], 0);
    const float z = at.part[0][0], y = at.part[1][0], x = at.part[2][0];
    float best = -infinity(), second = -infinity(), sum = 0, weighted = 0;
    int label = 0;
    for (int c = 0; c < classes; ++c) rank(interpolated(cell, c, z, y, x), c, best, second, label);
    for (int c = 0; c < classes; ++c) spread(interpolated(cell, c, z, y, x), best, sum, weighted);
    row_of(i, j)[k] = values[label];
    runs.add(k, values[label], fixed_margin(best, second), fixed_entropy(best, sum, weighted, classes));
    return 1;
  }

  // The same for several voxels, whose arithmetic vectorises.
  VOXEL_FN int part(int i, int j, int k, int last, int lane, Runs& runs) const {
    const int count = smaller(int(kLength), last - k);
    Run at;
    const double start[3] = {double(i), double(j), double(k)};
    places(matrix, score_size, start, count, at);
    float score[kMostClasses][kLength];
    for (int n = 0; n < count; ++n) {
      const auto cell = source.around(at.low[0][n], at.low[1][n], at.low[2][n], lane);
      for (int c = 0; c < classes; ++c)
        score[c][n] = interpolated(cell, c, at.part[0][n], at.part[1][n], at.part[2][n]);
    }
    for (int c = 0; c < classes; ++c)
      for (int n = count; n < kLength; ++n) score[c][n] = 0;

    float best[kLength], second[kLength], sum[kLength], weighted[kLength];
    int label[kLength];
    for (int n = 0; n < kLength; ++n) {
      best[n] = second[n] = -infinity();
      sum[n] = weighted[n] = 0;
      label[n] = 0;
    }
    for (int c = 0; c < classes; ++c)
      for (int n = 0; n < kLength; ++n) rank(score[c][n], c, best[n], second[n], label[n]);
    for (int c = 0; c < classes; ++c)
      for (int n = 0; n < kLength; ++n) spread(score[c][n], best[n], sum[n], weighted[n]);
    std::int32_t margin[kLength], entropy[kLength];
    for (int n = 0; n < kLength; ++n) {
      margin[n] = fixed_margin(best[n], second[n]);
      entropy[n] = fixed_entropy(best[n], sum[n], weighted[n], classes);
    }
    R* const out = row_of(i, j) + k;
    for (int n = 0; n < count; ++n) {
      out[n] = values[label[n]];
      runs.add(k + n, out[n], margin[n], entropy[n]);
    }
    return count;
  }
};

}  // namespace
}  // namespace zeus
