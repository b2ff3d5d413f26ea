// Cut a caller's scratch memory into aligned arrays; started at 0 it only measures.
#pragma once

#include "core/voxel.h"

namespace zeus {
namespace {

constexpr std::uintptr_t kLine = 64;  // bytes; keeps the arrays of two threads off one cache line

struct Carver {
  std::uintptr_t at;

  template <class T>
  VOXEL_FN T* take(std::int64_t count) {
    at = (at + kLine - 1) / kLine * kLine;
    T* const array = reinterpret_cast<T*>(at);
    at += std::uintptr_t(count) * sizeof(T);
    return array;
  }
};

// What a layout that ends at `measured`, started at 0, needs from memory of any alignment.
VOXEL_FN std::int64_t scratch_bytes(std::uintptr_t measured) {
  return std::int64_t(measured + 2 * kLine);
}

}  // namespace
}  // namespace zeus
