// What the files that know Python share: how arguments are checked.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <limits>
#include <stdexcept>
#include <string>

#include "core/tasks.h"
#include "kernel_table.h"

namespace zeus {

// The last three axes of an array.
template <class A>
Size3 size_of(const A& array, const char* name) {
  Size3 size;
  for (int n = 0; n < 3; ++n) {
    const std::size_t count = array.shape(array.ndim() - 3 + n);
    if (count == 0) throw std::invalid_argument(std::string(name) + " has no voxels");
    if (count > std::size_t(std::numeric_limits<std::int32_t>::max() / 2))
      throw std::invalid_argument(std::string(name) + " has too many voxels along one axis");
    size.axis[n] = std::int32_t(count);
  }
  return size;
}

inline void check_threads(int threads) {
  if (threads < 1 || threads > kMostThreads)
    throw std::invalid_argument("threads must be 1 to " + std::to_string(kMostThreads));
}

template <class Scratch>
void check_scratch(const Scratch& scratch, std::int64_t needed) {
  if (std::int64_t(scratch.size()) < needed)
    throw std::invalid_argument("scratch has " + std::to_string(scratch.size()) + " bytes, this call needs " +
                                std::to_string(needed));
}

// Calls on finished label maps (bindings_labels.cpp).
void def_label_calls(nanobind::class_<KernelTable>& table);

// Arrays of types that NumPy does not have (bindings_arrays.cpp).
void def_array_calls(nanobind::module_& m);

}  // namespace zeus
