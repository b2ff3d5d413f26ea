// Rows of labels as runs: stretches of one label.
#pragma once

#include "core/voxel.h"

namespace zeus {
namespace {

// The last voxel + 1 of the run that starts at `begin`, eight voxels at a time.
VOXEL_FN int run_end(const std::uint8_t* row, int begin, int length) {
  const std::uint64_t same = row[begin] * 0x0101010101010101ull;
  int k = begin + 1;
  for (; k + 8 <= length; k += 8) {
    std::uint64_t eight;
    __builtin_memcpy(&eight, row + k, sizeof eight);
    if (eight != same) break;
  }
  while (k < length && row[k] == row[begin]) ++k;
  return k;
}

}  // namespace
}  // namespace zeus
