// Rows of labels as runs: stretches of one label.
#pragma once

#include "core/voxel.h"

namespace zeus {
namespace {

// The last voxel + 1 of the run that starts at `begin`, on a CPU eight bytes at a time.
template <class R>
VOXEL_FN int run_end(const R* row, int begin, int length) {
  int k = begin + 1;
#ifndef __CUDACC__
  constexpr int many = 8 / sizeof(R);
  const std::uint64_t same = row[begin] * (~0ull / ((1ull << 8 * sizeof(R)) - 1));
  for (; k + many <= length; k += many) {
    std::uint64_t eight;
    __builtin_memcpy(&eight, row + k, sizeof eight);
    if (eight != same) break;
  }
#endif
  while (k < length && row[k] == row[begin]) ++k;
  return k;
}

}  // namespace
}  // namespace zeus
