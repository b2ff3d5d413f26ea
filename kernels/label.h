// Network scores to a label map on the scanner's grid, without a full-resolution score ever existing.
//
// label(p) = values[argmax over classes of the float32 trilinear score at p] (mix along axis 0, then 1, then
// 2 of the scores; the lowest class wins a tie, NaN never wins); result voxels whose centre lies more than
// half a score voxel outside become `outside`. mix() is monotone under rounding, so a cell whose eight
// corners share a clear winner (see argmax.h) has that class everywhere inside; only the other cells read
// scores.
#pragma once

#include "argmax.h"
#include "core/map.h"
#include "core/scratch.h"
#include "gather.h"
#include "scores.h"

namespace zeus {

// The arguments as they come from a caller.
struct Label {
  Scores scores;
  void* result;
  LabelValue label;  // type of `result` and `values`
  Size3 result_size;
  Matrix34 matrix;     // result index to score index
  const void* values;  // label of each class
  std::uint16_t outside;
  Span window[3];  // of each result axis: what is labelled, all else stays; whole where something is gathered
  Gather gather;
  void* scratch;  // of label_scratch_bytes()
};

namespace {

// The first part of the scratch: what both label kernels read.
struct CellMaps {
  std::uint8_t* winners;  // guarded argmax of every score voxel
  std::uint8_t* cells;    // shared winner of the eight corners of every cell, or kUndecided
  std::uintptr_t end;
};

VOXEL_FN CellMaps cell_maps(std::uintptr_t scratch, const Size3& size) {
  Carver carver = {scratch};
  CellMaps maps;
  maps.winners = carver.take<std::uint8_t>(voxels(size));
  maps.cells = carver.take<std::uint8_t>(voxels(size));
  maps.end = carver.at;
  return maps;
}

VOXEL_FN CellMaps cell_maps(const Label& given) {
  return cell_maps(reinterpret_cast<std::uintptr_t>(given.scratch), given.scores.size);
}

// Voxels of a window along one axis.
VOXEL_FN int length(Span window) {
  return window.last - window.first;
}

// Planes of scores that the window needs, and some more; all of them for a whole result.
VOXEL_FN Span score_planes(const Label& given) {
  const int planes = given.scores.size.axis[0];
  bool whole = true;
  double low = 0, high = 0;
  for (int corner = 0; corner < 8; ++corner) {
    double index[3];
    for (int n = 0; n < 3; ++n) {
      const Span& window = given.window[n];
      whole &= length(window) == given.result_size.axis[n];
      index[n] = corner >> n & 1 ? window.last - 1 : window.first;
    }
    const double at = position(given.matrix.row[0], index[0], index[1], index[2]);
    low = corner == 0 || at < low ? at : low;
    high = corner == 0 || at > high ? at : high;
  }
  if (whole) return {0, planes};
  // A plane more at each end, for what rounding and noise in the matrix may move.
  const int first = place(low - 1, planes).low, last = place(high + 1, planes).low + 2;
  return {first, smaller(last, planes)};
}

// The argmax that fills `winners` where scores lie in an array.
VOXEL_FN Argmax winners_of(const Label& given) {
  const Scores& scores = given.scores;
  return {scores.data,         scores.type, scores.classes,
          voxels(scores.size), nullptr,     cell_maps(given).winners,
          LabelValue::uint8};
}

// The cells: one byte for the corner voxels at (d, h, w) and its upper neighbours.
struct SharedWinner {
  const std::uint8_t* winners;
  std::uint8_t* cells;
  Size3 size;
  Span planes;  // that tasks make; winners are there for these alone

  VOXEL_FN void operator()(int d, int h, int w) const {
    row(winners + (std::int64_t(d) * size.axis[1] + h) * size.axis[2], d, h, w, w + 1);
  }
  VOXEL_FN Size3 extent() const { return size; }

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return planes.last - planes.first; }
  VOXEL_FN void task(std::int64_t task, int) const {
    const std::int64_t d = planes.first + task;
    const std::uint8_t* plane = winners + d * stride(size, 0);
    for (int h = 0; h < size.axis[1]; ++h) row(plane + h * stride(size, 1), int(d), h, 0, size.axis[2]);
  }

 private:
  VOXEL_FN void row(const std::uint8_t* a, int d, int h, int first, int last) const {
    const std::int64_t up = d + 1 < planes.last ? stride(size, 0) : 0,
                       over = h + 1 < size.axis[1] ? stride(size, 1) : 0;
    std::uint8_t* __restrict out = cells + (a - winners);
    const std::uint8_t *b = a + over, *c = a + up, *e = a + up + over;
    const int inner = smaller(last, size.axis[2] - 1);
    for (int w = first; w < inner; ++w) {
      const std::uint8_t differ = (a[w] ^ a[w + 1]) | (a[w] ^ b[w]) | (a[w] ^ b[w + 1]) | (a[w] ^ c[w]) |
                                  (a[w] ^ c[w + 1]) | (a[w] ^ e[w]) | (a[w] ^ e[w + 1]);
      out[w] = differ == 0 ? a[w] : kUndecided;
    }
    if (last == size.axis[2]) {
      const int w = last - 1;
      out[w] = (a[w] == b[w]) & (a[w] == c[w]) & (a[w] == e[w]) ? a[w] : kUndecided;
    }
  }
};

}  // namespace
}  // namespace zeus
