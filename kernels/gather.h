// What is gathered about each class while labels are made: size, box, contact with the border, confidence.
//
// All integers, so that no sum depends on threads or target. A voxel belongs to the class that gave it its
// label, the lowest one where several have that label; voxels outside the scores belong to none.
#pragma once

#include "core/map.h"

namespace zeus {

// Columns of the table (classes, columns); those from kMargin on only where confidence is asked for.
enum GatherColumn {
  kGatherVoxels,
  kGatherBorder,                    // voxels in the first or last plane of any axis
  kGatherFirst,                     // index of the first voxel along each axis; the grid's size where none is
  kGatherLast = kGatherFirst + 3,   // and one past the last; 0 where none is
  kGatherMargin = kGatherLast + 3,  // sum of kMarginOne * (best - second-best score), rounded down a voxel
  kGatherEntropy,                   // sum of kEntropyOne * entropy in bits, rounded down a voxel
  kGatherColumns
};
constexpr int kCountColumns = kGatherMargin;

// The arguments as they come from a caller.
struct Gather {
  std::int64_t* table;  // (classes, columns)
  int columns;          // kCountColumns or kGatherColumns; 0: nothing is gathered
};

namespace {

// How a table is added to by a thread that has it for itself.
struct PlainSums {
  static VOXEL_FN void add(std::int64_t* to, std::int64_t value) { *to += value; }
  static VOXEL_FN void lower(std::int64_t* to, std::int64_t value) { *to = smaller(*to, value); }
  static VOXEL_FN void raise(std::int64_t* to, std::int64_t value) { *to = larger(*to, value); }
};

// The entry of a class without voxels.
VOXEL_FN std::int64_t nothing_gathered(int column, const Size3& size) {
  return column >= kGatherFirst && column < kGatherLast ? size.axis[column - kGatherFirst] : 0;
}

// The lowest class with a label.
template <class R>
VOXEL_FN int class_of(R label, const R* values) {
  int c = 0;
  while (values[c] != label) ++c;
  return c;
}

// Adds the voxels [begin, end) of row (i, j) to the entry of their class.
template <class Sums>
VOXEL_FN void add_run(std::int64_t* entry, const Size3& size, const std::int32_t* row, int begin, int end) {
  const std::int32_t low[3] = {row[0], row[1], begin}, high[3] = {row[0] + 1, row[1] + 1, end};
  bool whole = false;
  for (int n = 0; n < 2; ++n) whole |= row[n] == 0 || row[n] == size.axis[n] - 1;
  const int ends = int(begin == 0) + int(end == size.axis[2] && end > 1);
  Sums::add(entry + kGatherVoxels, end - begin);
  if (whole || ends > 0) Sums::add(entry + kGatherBorder, whole ? end - begin : ends);
  for (int n = 0; n < 3; ++n) {
    Sums::lower(entry + kGatherFirst + n, low[n]);
    Sums::raise(entry + kGatherLast + n, high[n]);
  }
}

// The voxels of row (i, j) whose centre is inside the source, [first, last). They are neighbours: rounding
// keeps positions in order.
VOXEL_FN Span row_span(const Matrix34& matrix, const Size3& source, int i, int j, int length) {
  Span span = {0, length};
  while (span.first < span.last && !is_inside(matrix, source, i, j, span.first)) ++span.first;
  while (span.last > span.first && !is_inside(matrix, source, i, j, span.last - 1)) --span.last;
  return span;
}

// Every entry of the table.
struct GatherClear {
  std::int64_t* table;
  Size3 size;
  int classes, columns;

  VOXEL_FN std::int64_t extent() const { return std::int64_t(classes) * columns; }
  VOXEL_FN void operator()(std::int64_t n) const { table[n] = nothing_gathered(int(n % columns), size); }
};

// Counts a finished label map, a row at a time.
template <class R, class Sums>
struct GatherRows {
  const R* result;
  Size3 size, source;
  Matrix34 matrix;  // without noise
  const R* values;
  std::int64_t* table;
  int columns;

  VOXEL_FN std::int64_t extent() const { return std::int64_t(size.axis[0]) * size.axis[1]; }

  VOXEL_FN void operator()(std::int64_t n) const {
    const std::int32_t at[2] = {std::int32_t(n / size.axis[1]), std::int32_t(n % size.axis[1])};
    const R* const row = result + n * size.axis[2];
    const Span inside = row_span(matrix, source, at[0], at[1], size.axis[2]);
    for (int begin = inside.first, end; begin < inside.last; begin = end) {
      end = begin + 1;
      while (end < inside.last && row[end] == row[begin]) ++end;
      add_run<Sums>(table + class_of(row[begin], values) * columns, size, at, begin, end);
    }
  }
};

}  // namespace
}  // namespace zeus
