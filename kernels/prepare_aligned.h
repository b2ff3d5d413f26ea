// Prepare where result axes run along source axes (in any order and direction): weights are found once per
// axis.
#pragma once

#include "core/pairs.h"
#include "core/rows.h"
#include "prepare_taps.h"

namespace zeus {
namespace {

template <class T, class R>
struct PrepareAligned {
  static constexpr int kBlock = 16;  // lines written together: one cache line of floats
  static constexpr int kAhead = 1;   // lines between asking for source rows and reading them

  const T* source;
  Size3 source_size;
  R* result;
  Size3 result_size;
  AxisMap map;
  Intensity intensity;
  PrepareTaps axes;
  float* lanes;  // scratch of every thread
  std::int64_t lane_floats;

  VOXEL_FN explicit PrepareAligned(const Prepare& given, int threads)
      : source(static_cast<const T*>(given.source)),
        source_size(given.source_size),
        result(static_cast<R*>(given.result)),
        result_size(given.result_size),
        map(axis_map(given.matrix, given.result_size)),
        intensity(given.intensity),
        axes(given) {
    layout(reinterpret_cast<std::uintptr_t>(given.scratch), threads);
  }

  // Places the arrays in the scratch and returns its end.
  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch, int threads) {
    Carver carver = {axes.layout(scratch)};
    lane_floats = (source_size.axis[2] + 15) / 16 * 16 + kBlock * line_stride();
    lanes = carver.take<float>(lane_floats * threads);
    return carver.at;
  }

  VOXEL_FN void ready() { axes.ready(); }
  VOXEL_FN Size3 extent() const { return result_size; }

  // One voxel, without any line buffer: the same sums in the same order as task().
  VOXEL_FN void operator()(int i, int j, int k) const {
    const int line = map.result_axis[2], a = line == 0 ? 1 : 0, b = line == 2 ? 1 : 2;
    // Not an array: a GPU would put one that is indexed into memory.
    const int at_line = line == 0 ? i : line == 1 ? j : k, at_a = line == 0 ? j : i, at_b = line == 2 ? j : k;
    float value = intensity.outside;
    if (inside(0, i) & inside(1, j) & inside(2, k)) {
      float sum = 0;
      for (int t = 0; t < axes.taps[line].count; ++t) {
        float column = 0;
        bool first = true;
        for (int ta = 0; ta < axes.taps[a].count; ++ta)
          for (int tb = 0; tb < axes.taps[b].count; ++tb) {
            const float weight = weight_of(a, ta, at_a) * weight_of(b, tb, at_b);
            if (weight == 0) continue;
            const T* row = row_of(a, ta, at_a, b, tb, at_b);
            const float term = weight * counted(row[axes.taps[line].start[at_line] + t], intensity.empty);
            column = first ? term : column + term;
            first = false;
          }
        const float term = weight_of(line, t, at_line) * column;
        sum = t == 0 ? term : sum + term;
      }
      value = finish(intensity, sum);
    }
    store_real(value, result[(std::int64_t(i) * result_size.axis[1] + j) * result_size.axis[2] + k]);
  }

  // A task is up to kBlock neighbouring lines; a line runs along the contiguous axis of the source.
  VOXEL_FN std::int64_t tasks() const {
    const Lines lines = which_lines();
    return std::int64_t(result_size.axis[lines.a]) * lines.blocks;
  }

  VOXEL_FN void task(std::int64_t task, int lane) const {
    const Lines lines = which_lines();
    const int a = int(task / lines.blocks), first = int(task % lines.blocks) * kBlock;
    const int count = smaller(kBlock, result_size.axis[lines.b] - first),
              length = result_size.axis[lines.line];
    float* const mixed = lanes + lane * lane_floats;
    float* const tile = mixed + (source_size.axis[2] + 15) / 16 * 16;
    for (int n = 0; n < count; ++n) {
      fetch_line(lines, a, first + n + kAhead);
      make_line(lines, a, first + n, mixed, tile + n * line_stride());
    }

    R* const to = result + a * stride(result_size, lines.a) + first * stride(result_size, lines.b);
    if (lines.line == 2) {
      for (int n = 0; n < count; ++n)
        store_row(tile + n * line_stride(), length, to + n * stride(result_size, lines.b));
    } else {
      for (int x = 0; x < length; ++x) {
        float across[kBlock];
        for (int n = 0; n < count; ++n) across[n] = tile[n * line_stride() + x];
        store_row(across, count, to + x * stride(result_size, lines.line));
      }
    }
  }

 private:
  struct Lines {
    int line, a, b;  // result axes: along a line, across tasks, across the lines of a block
    int blocks;      // along b
  };

  VOXEL_FN Lines which_lines() const {
    const int line = map.result_axis[2], b = line == 2 ? 1 : 2;
    return {line, line == 0 ? 1 : 0, b, (result_size.axis[b] + kBlock - 1) / kBlock};
  }

  // Not a power of two, so that the lines of a block do not share cache sets.
  VOXEL_FN std::int64_t line_stride() const {
    return (result_size.axis[map.result_axis[2]] + 31) / 32 * 32 + 16;
  }

  VOXEL_FN bool inside(int axis, int index) const {
    return (index >= axes.taps[axis].inside.first) & (index < axes.taps[axis].inside.last);
  }

  VOXEL_FN float weight_of(int axis, int tap, int index) const {
    return axes.taps[axis].weight[std::int64_t(tap) * result_size.axis[axis] + index];
  }

  VOXEL_FN const T* row_of(int a, int ta, int at_a, int b, int tb, int at_b) const {
    return source + std::int64_t(axes.taps[a].start[at_a] + ta) * stride(source_size, map.source_axis[a]) +
           std::int64_t(axes.taps[b].start[at_b] + tb) * stride(source_size, map.source_axis[b]);
  }

  // The source rows under one line, up to four at a time, into `mixed`.
  struct Mixer {
    const T* row[4];
    float weight[4];
    int pending, begin, end;
    bool first;
    float* mixed;
    float empty;

    VOXEL_FN void add(const T* next, float by) {
      row[pending] = next;
      weight[pending] = by;
      if (++pending == 4) flush();
    }

    VOXEL_FN void flush() {
      if (pending == 4) pass<4>();
      if (pending == 3) pass<3>();
      if (pending == 2) pass<2>();
      if (pending == 1) pass<1>();
      if (pending > 0) first = false;
      pending = 0;
    }

    template <int count>
    VOXEL_FN void pass() {
      if (empty != 0)
        pass_of<count, true>();
      else
        pass_of<count, false>();
    }

    template <int count, bool hollow>
    VOXEL_FN void pass_of() {
      if (first)
        sum<count, hollow, true>(row[0], row[1], row[2], row[3], weight[0], weight[1], weight[2], weight[3]);
      else
        sum<count, hollow, false>(row[0], row[1], row[2], row[3], weight[0], weight[1], weight[2], weight[3]);
    }

    template <int count, bool hollow, bool fresh>
    VOXEL_FN void sum(const T* r0, const T* r1, const T* r2, const T* r3, float w0, float w1, float w2,
                      float w3) {
      float* __restrict out = mixed;
      const float zero = empty;
      for (int x = begin; x < end; ++x) {
        float value = w0 * counted<hollow>(r0[x], zero);
        if (!fresh) value = out[x] + value;
        if (count > 1) value += w1 * counted<hollow>(r1[x], zero);
        if (count > 2) value += w2 * counted<hollow>(r2[x], zero);
        if (count > 3) value += w3 * counted<hollow>(r3[x], zero);
        out[x] = value;
      }
    }
  };

  // Asks for the source rows of a line that will soon be made: short rows far apart end before the hardware
  // sees where they lead. Into the second level of the cache: the first has no room for so many requests.
  VOXEL_FN void fetch_line(const Lines& lines, int at_a, int at_b) const {
    if (at_b >= result_size.axis[lines.b] || !(inside(lines.a, at_a) & inside(lines.b, at_b))) return;
    constexpr int kStep = 64 / int(sizeof(T));
    for (int ta = 0; ta < axes.taps[lines.a].count; ++ta)
      for (int tb = 0; tb < axes.taps[lines.b].count; ++tb) {
        if (weight_of(lines.a, ta, at_a) * weight_of(lines.b, tb, at_b) == 0) continue;
        const T* const row = row_of(lines.a, ta, at_a, lines.b, tb, at_b);
        for (int x = 0; x < source_size.axis[2]; x += kStep) __builtin_prefetch(row + x, 0, 2);
      }
  }

  VOXEL_FN void make_line(const Lines& lines, int at_a, int at_b, float* mixed,
                          float* __restrict line) const {
    const int length = result_size.axis[lines.line];
    const Taps& along = axes.taps[lines.line];
    const Span span = inside(lines.a, at_a) & inside(lines.b, at_b) ? along.inside : Span{0, 0};
    for (int n = 0; n < span.first; ++n) line[n] = intensity.outside;
    for (int n = span.last; n < length; ++n) line[n] = intensity.outside;
    if (span.first == span.last) return;

    const int ends[2] = {along.start[span.first], along.start[span.last - 1]};
    Mixer mixer = {{},
                   {},
                   0,
                   smaller(ends[0], ends[1]),
                   larger(ends[0], ends[1]) + along.count,
                   true,
                   mixed,
                   intensity.empty};
    for (int ta = 0; ta < axes.taps[lines.a].count; ++ta)
      for (int tb = 0; tb < axes.taps[lines.b].count; ++tb) {
        const float weight = weight_of(lines.a, ta, at_a) * weight_of(lines.b, tb, at_b);
        if (weight != 0) mixer.add(row_of(lines.a, ta, at_a, lines.b, tb, at_b), weight);
      }
    mixer.flush();

    sum_along(along, length, span, mixed, line);
    for (int n = span.first; n < span.last; ++n) line[n] = finish(intensity, line[n]);
  }

  static VOXEL_FN void sum_along(const Taps& along, int length, Span span, const float* mixed,
                                 float* __restrict line) {
    if (along.count == 2)
      return mix_pairs(mixed, along.start, along.weight, along.weight + length, span.first, span.last, line);
    for (int t = 0; t < along.count; ++t) {
      const float* weight = along.weight + std::int64_t(t) * length;
      const float* from = mixed + t;
      if (t == 0)
        for (int n = span.first; n < span.last; ++n) line[n] = weight[n] * from[along.start[n]];
      else
        for (int n = span.first; n < span.last; ++n) line[n] += weight[n] * from[along.start[n]];
    }
  }
};

}  // namespace
}  // namespace zeus
