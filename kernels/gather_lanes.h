// Gathering on a CPU: every lane has a table of its own, and rows are counted while they are in its cache.
#pragma once

#include "core/runs.h"
#include "core/scratch.h"
#include "gather.h"
#include "label.h"

namespace zeus {
namespace {

template <class R>
struct GatherLanes {
  Gather to;
  Size3 size;  // of the result
  int classes, lanes;
  const R* values;
  std::int64_t* tables;
  std::uint8_t* guesses;  // of the lower byte of a label: a class

  VOXEL_FN GatherLanes(const Label& given, int threads)
      : to(given.gather),
        size(given.result_size),
        classes(given.scores.classes),
        lanes(threads),
        values(static_cast<const R*>(given.values)) {}

  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch) {
    Carver carver = {scratch};
    tables = carver.take<std::int64_t>(lanes * lane_size());
    guesses = carver.take<std::uint8_t>(256);
    return carver.at;
  }

  VOXEL_FN void ready() {
    for (int lane = 0; lane < lanes; ++lane) clear(of(lane));
    for (int n = 0; n < 256; ++n) guesses[n] = 0;
    for (int c = classes - 1; c >= 0; --c) guesses[values[c] & 255] = std::uint8_t(c);
  }

  VOXEL_FN std::int64_t* of(int lane) const { return tables + lane * lane_size(); }

  // Counts the voxels inside the scores of the finished row (i, j).
  VOXEL_FN void add_row(const R* row, int i, int j, Span inside, int lane) const {
    const std::int32_t at[2] = {i, j};
    for (int begin = inside.first, end; begin < inside.last; begin = end) {
      end = run_end(row, begin, inside.last);
      int c = guesses[row[begin] & 255];
      if (values[c] != row[begin]) c = class_of(row[begin], values);
      add_run<PlainSums>(of(lane) + c * to.columns, size, at, begin, end);
    }
  }

  // The sum of all lanes, for the caller.
  VOXEL_FN void merge() const {
    clear(to.table);
    for (int lane = 0; lane < lanes; ++lane)
      for (int c = 0; c < classes; ++c)
        for (int n = 0; n < to.columns; ++n) {
          std::int64_t& sum = to.table[c * to.columns + n];
          const std::int64_t more = of(lane)[c * to.columns + n];
          if (n >= kGatherFirst && n < kGatherLast)
            sum = smaller(sum, more);
          else if (n >= kGatherLast && n < kGatherMargin)
            sum = larger(sum, more);
          else
            sum += more;
        }
  }

 private:
  // Whole lines, so that two lanes share none.
  VOXEL_FN std::int64_t lane_size() const { return (std::int64_t(classes) * kGatherColumns + 7) / 8 * 8; }

  VOXEL_FN void clear(std::int64_t* table) const {
    const GatherClear entries = {table, size, classes, to.columns};
    for (std::int64_t n = 0; n < entries.extent(); ++n) entries(n);
  }
};

// A label kernel that gathers.
template <class Kernel, class R>
struct Gathering {
  Kernel kernel;
  GatherLanes<R> lanes;

  VOXEL_FN Gathering(const Label& given, int threads) : kernel(given, threads), lanes(given, threads) {
    layout(reinterpret_cast<std::uintptr_t>(given.scratch), threads);
  }

  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch, int threads) {
    return lanes.layout(kernel.layout(scratch, threads));
  }

  VOXEL_FN void ready() {
    kernel.ready();
    lanes.ready();
  }
  VOXEL_FN std::int64_t tasks() const { return kernel.tasks(); }
  VOXEL_FN void task(std::int64_t task, int lane) const { kernel.gathered_task(task, lane, lanes); }
};

}  // namespace
}  // namespace zeus
