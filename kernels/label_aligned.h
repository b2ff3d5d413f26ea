// Label where result axes run along score axes: whole rows from the cell map, then the undecided cells one by
// one.
#pragma once

#include "label.h"

namespace zeus {
namespace {

// What one result axis needs to know. Cell c of the score axis covers result voxels [first[c], last[c]).
struct Cells {
  Span inside;
  float* part;         // of each result voxel, its way across its cell
  std::int32_t* cell;  // of each result voxel
  std::int32_t *first, *last;
};

template <class Source, class R>
struct LabelAligned {
  static constexpr int kWindow = 8;  // cells judged together
  static constexpr int kMostClasses = 255;

  using Element = typename Source::Element;

  Source source;
  int classes;
  Size3 score_size;
  R* result;
  Size3 result_size;
  Span window[3];  // of each result axis
  Matrix34 matrix;
  AxisMap map;
  const R* values;
  R outside;
  const std::uint8_t* cells;
  Cells axis[3];  // of each score axis

  VOXEL_FN LabelAligned(const Label& given, int threads)
      : source(given.scores),
        classes(given.scores.classes),
        score_size(given.scores.size),
        result(static_cast<R*>(given.result)),
        result_size(given.result_size),
        window{given.window[0], given.window[1], given.window[2]},
        map(axis_map(given.matrix, given.result_size)),
        values(static_cast<const R*>(given.values)),
        outside(R(given.outside)) {
    matrix = without_noise(given.matrix, map);
    layout(reinterpret_cast<std::uintptr_t>(given.scratch), threads);
  }

  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch, int threads) {
    const CellMaps maps = cell_maps(scratch, score_size);
    cells = maps.cells;
    Carver carver = {maps.end};
    for (int n = 0; n < 3; ++n) {
      axis[n].part = carver.take<float>(result_size.axis[map.result_axis[n]]);
      axis[n].cell = carver.take<std::int32_t>(result_size.axis[map.result_axis[n]]);
      axis[n].first = carver.take<std::int32_t>(score_size.axis[n]);
      axis[n].last = carver.take<std::int32_t>(score_size.axis[n]);
    }
    return source.layout(carver.at, threads, 2);
  }

  VOXEL_FN void ready() {
    source.ready();
    for (int n = 0; n < 3; ++n) {
      const int along = map.result_axis[n], size = score_size.axis[n];
      axis[n].inside = inside_span(matrix.row[n], along, size, window[along]);
      for (int c = 0; c < size; ++c) axis[n].first[c] = axis[n].last[c] = 0;
      for (int index = axis[n].inside.first; index < axis[n].inside.last; ++index) {
        const Place p = place(matrix.row[n][along] * index + matrix.row[n][3], size);
        axis[n].part[index] = p.part;
        axis[n].cell[index] = p.low;
        if (axis[n].last[p.low] == 0) axis[n].first[p.low] = index;
        axis[n].last[p.low] = index + 1;
      }
    }
  }

  // A task is a block of cells along the score axis that the result's first axis runs along; those after the
  // blocks are the result planes that lie outside.
  VOXEL_FN std::int64_t tasks() const {
    return blocks() + length(window[0]) - length(axis[map.source_axis[0]].inside);
  }

  VOXEL_FN void task(std::int64_t task, int lane) const {
    const int slow = map.source_axis[0];
    if (task >= blocks()) {
      int plane = window[0].first + int(task - blocks());
      if (plane >= axis[slow].inside.first) plane += length(axis[slow].inside);
      fill_rows(plane, window[1]);
      return;
    }
    const int begin = int(task) * block(), end = smaller(begin + block(), score_size.axis[slow]);
    for (int c = begin; c < end; ++c) fill_decided(c);
    Size3 from = {{0, 0, 0}}, to = score_size;
    from.axis[slow] = begin;
    to.axis[slow] = end;
    for (int d = from.axis[0]; d < to.axis[0]; ++d)
      for (int h = from.axis[1]; h < to.axis[1]; ++h)
        if (axis[0].last[d] > 0 && axis[1].last[h] > 0)
          for (int w = from.axis[2]; w < to.axis[2]; w += kWindow)
            visit(d, h, w, smaller(w + kWindow, to.axis[2]), lane);
  }

  template <class Lanes>
  VOXEL_FN void gathered_task(std::int64_t task, int lane, const Lanes& lanes) const {
    this->task(task, lane);
    if (task >= blocks()) return;
    const Cells &slow = axis[map.source_axis[0]], &middle = axis[map.source_axis[1]];
    const int begin = int(task) * block(),
              end = smaller(begin + block(), score_size.axis[map.source_axis[0]]);
    for (int c = begin; c < end; ++c)
      for (int i = slow.first[c]; i < slow.last[c]; ++i)
        for (int j = middle.inside.first; j < middle.inside.last; ++j)
          lanes.add_row(result + i * stride(result_size, 0) + j * stride(result_size, 1), i, j,
                        axis[map.source_axis[2]].inside, lane);
  }

 private:
  // Corner scores of up to every class in one cell, indexed d + 2 * (h + 2 * w).
  struct Candidates {
    int count;
    std::uint8_t label[kMostClasses];
    float corner[kMostClasses][8];
  };

  // Enough contiguous cells to use the cache lines of the scores that a block reads.
  VOXEL_FN int block() const { return map.source_axis[0] == 2 ? 2 * kWindow : 1; }
  VOXEL_FN std::int64_t blocks() const {
    return (score_size.axis[map.source_axis[0]] + block() - 1) / block();
  }

  static VOXEL_FN void fill(R* row, std::int64_t count, R value) {
    for (std::int64_t n = 0; n < count; ++n) row[n] = value;
  }

  // Rows of one plane that lie outside.
  VOXEL_FN void fill_rows(int i, Span rows) const {
    R* const plane = result + i * stride(result_size, 0) + window[2].first;
    for (int j = rows.first; j < rows.last; ++j)
      fill(plane + j * stride(result_size, 1), length(window[2]), outside);
  }

  // Every result voxel in cells `c` of the slow axis, as if each cell were decided.
  VOXEL_FN void fill_decided(int c) const {
    const int slow = map.source_axis[0], middle = map.source_axis[1];
    const int first = axis[slow].first[c], last = axis[slow].last[c];
    const std::int64_t plane = stride(result_size, 0), row = result_size.axis[2];
    const Span inside = axis[middle].inside;
    for (int i = first; i < last; ++i) {
      fill_rows(i, {window[1].first, inside.first});
      fill_rows(i, {inside.last, window[1].last});
    }
    if (first == last) return;
    for (int m = 0; m < score_size.axis[middle]; ++m) {
      if (axis[middle].last[m] == 0) continue;
      R* const made = result + first * plane + axis[middle].first[m] * row;
      make_row(c, m, made);
      for (int i = first; i < last; ++i)
        for (int j = axis[middle].first[m]; j < axis[middle].last[m]; ++j) {
          R* const copy = result + i * plane + j * row;
          if (copy != made)
            __builtin_memcpy(copy + window[2].first, made + window[2].first,
                             std::size_t(length(window[2])) * sizeof(R));
        }
    }
  }

  VOXEL_FN void make_row(int c, int m, R* __restrict row) const {
    const int fast = map.source_axis[2];
    const std::uint8_t* __restrict line =
        cells + c * stride(score_size, map.source_axis[0]) + m * stride(score_size, map.source_axis[1]);
    const std::int64_t apart = stride(score_size, fast);
    const Span inside = axis[fast].inside;
    fill(row + window[2].first, inside.first - window[2].first, outside);
    for (int k = inside.first; k < inside.last; ++k) {
      const std::uint8_t shared = line[axis[fast].cell[k] * apart];
      row[k] = values[shared == kUndecided ? 0 : shared];
    }
    fill(row + inside.last, window[2].last - inside.last, outside);
  }

  // The undecided cells among [first, last) of one row of cells.
  VOXEL_FN void visit(int d, int h, int first, int last, int lane) const {
    const std::uint8_t* row = cells + d * stride(score_size, 0) + h * stride(score_size, 1);
    unsigned open = 0;
    for (int w = first; w < last; ++w)
      open |= unsigned((row[w] == kUndecided) & (axis[2].last[w] > 0)) << (w - first);
    if (open == 0) return;

    const Corners<Element> at = source.around(d, h, first, lane);
    Judged judged;
    judge(at, smaller(kWindow + 1, score_size.axis[2] - first), judged);
    for (int n = 0; n < last - first; ++n)
      if (open >> n & 1) {
        Candidates some;
        gather(at, judged, n, some);
        decide(d, h, first + n, some);
      }
  }

  // Bounds of every class in each cell of a window.
  struct Judged {
    float highest[kMostClasses][kWindow];  // corner; infinite where a corner is not finite
    float to_reach[kWindow];               // some class scores at least this everywhere in the cell
  };

  VOXEL_FN void judge(const Corners<Element>& at, int count, Judged& judged) const {
    for (int n = 0; n < kWindow; ++n) judged.to_reach[n] = -infinity();
    for (int c = 0; c < classes; ++c) {
      float row[4][kWindow + 1];
      for (int q = 0; q < 4; ++q) corner_row(at.row[q] + c * at.apart, count, row[q]);
      float low[kWindow + 1], high[kWindow + 1], odd[kWindow + 1];
      for (int n = 0; n <= kWindow; ++n) {
        low[n] = smaller(smaller(row[0][n], row[1][n]), smaller(row[2][n], row[3][n]));
        high[n] = larger(larger(row[0][n], row[1][n]), larger(row[2][n], row[3][n]));
        odd[n] = (row[0][n] - row[0][n]) + (row[1][n] - row[1][n]) + (row[2][n] - row[2][n]) +
                 (row[3][n] - row[3][n]);  // NaN where a corner is not finite, else 0
      }
      for (int n = 0; n < kWindow; ++n) {
        const bool finite = odd[n] + odd[n + 1] == 0;
        const float bound = finite ? smaller(low[n], low[n + 1]) : -infinity();
        judged.highest[c][n] = finite ? larger(high[n], high[n + 1]) : infinity();
        judged.to_reach[n] = larger(judged.to_reach[n], bound);
      }
    }
  }

  // The last voxel of a row is repeated.
  static VOXEL_FN void corner_row(const Element* p, int count, float* row) {
    if (count == kWindow + 1) {
      load_row(p, kWindow, row);
      row[kWindow] = real_value(p[kWindow]);
    } else {
      for (int n = 0; n <= kWindow; ++n) row[n] = real_value(p[smaller(n, count - 1)]);
    }
  }

  // Those of the cell at `n` in the window that may win somewhere in it.
  VOXEL_FN void gather(const Corners<Element>& at, const Judged& judged, int n, Candidates& some) const {
    const float to_reach = at_least(judged.to_reach[n]);
    some.count = 0;
    for (int c = 0; c < classes; ++c) {
      if (at_most(judged.highest[c][n]) < to_reach) continue;
      some.label[some.count] = std::uint8_t(c);
      float* const corner = some.corner[some.count++];
      for (int x = 0; x < 2; ++x)
        for (int q = 0; q < 4; ++q) corner[q + 4 * x] = real_value(at.row[q][c * at.apart + n + x * at.over]);
    }
  }

  // Every result voxel of one cell.
  VOXEL_FN void decide(int d, int h, int w, const Candidates& some) const {
    std::int64_t apart[3];
    for (int n = 0; n < 3; ++n) apart[n] = stride(result_size, map.result_axis[n]);
    float edge[kMostClasses][4], line[kMostClasses][2];
    for (int a = axis[0].first[d]; a < axis[0].last[d]; ++a) {
      for (int n = 0; n < some.count; ++n)
        for (int q = 0; q < 4; ++q)
          edge[n][q] = mix(some.corner[n][2 * q], some.corner[n][2 * q + 1], axis[0].part[a]);
      for (int b = axis[1].first[h]; b < axis[1].last[h]; ++b) {
        for (int n = 0; n < some.count; ++n)
          for (int q = 0; q < 2; ++q) line[n][q] = mix(edge[n][2 * q], edge[n][2 * q + 1], axis[1].part[b]);
        for (int c = axis[2].first[w]; c < axis[2].last[w]; ++c) {
          float top = -infinity();
          int best = 0;
          for (int n = 0; n < some.count; ++n) {
            const float score = mix(line[n][0], line[n][1], axis[2].part[c]);
            best = score > top ? some.label[n] : best;
            top = score > top ? score : top;
          }
          result[a * apart[0] + b * apart[1] + c * apart[2]] = values[best];
        }
      }
    }
  }
};

}  // namespace
}  // namespace zeus
