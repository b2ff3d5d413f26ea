// What the files that know Python share: how arguments are checked.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "core/tasks.h"
#include "kernel_table.h"
#include "launch_plan.h"

namespace zeus {

// Where the arrays of a table lie.
template <class Table>
using On =
    std::conditional_t<std::is_same_v<Table, LaunchTable>, nanobind::device::cuda, nanobind::device::cpu>;

template <class Table>
using Bytes = nanobind::ndarray<std::uint8_t, nanobind::ndim<1>, nanobind::c_contig, On<Table>>;
template <class Table, int axes>
using AnyIn = nanobind::ndarray<nanobind::ro, nanobind::ndim<axes>, nanobind::c_contig, On<Table>>;
template <class Table, int axes>
using AnyOut = nanobind::ndarray<nanobind::ndim<axes>, nanobind::c_contig, On<Table>>;
template <class Table, class T, int axes>
using Array = nanobind::ndarray<T, nanobind::ndim<axes>, nanobind::c_contig, On<Table>>;
using Matrix =
    nanobind::ndarray<const double, nanobind::shape<3, 4>, nanobind::c_contig, nanobind::device::cpu>;

inline bool same(const Size3& a, const Size3& b) {
  return a.axis[0] == b.axis[0] && a.axis[1] == b.axis[1] && a.axis[2] == b.axis[2];
}

inline bool is_type(nanobind::dlpack::dtype type, nanobind::dlpack::dtype_code code, int bits) {
  return type.code == std::uint8_t(code) && type.bits == bits && type.lanes == 1;
}

inline Real real_type(nanobind::dlpack::dtype type, const char* message) {
  if (is_type(type, nanobind::dlpack::dtype_code::Float, 32)) return Real::float32;
  if (is_type(type, nanobind::dlpack::dtype_code::Float, 16)) return Real::float16;
  if (is_type(type, nanobind::dlpack::dtype_code::Bfloat, 16)) return Real::bfloat16;
  throw nanobind::type_error(message);
}

inline Matrix34 matrix_of(const Matrix& matrix) {
  Matrix34 copy;
  std::memcpy(&copy, matrix.data(), sizeof copy);
  for (const auto& row : copy.row)
    for (double entry : row)
      if (!(std::abs(entry) < 1e9))
        throw std::invalid_argument("matrix has an entry that is not finite or is huge");
  return copy;
}

template <class Table, class... Arrays>
void check_device(const Table& table, const Arrays&... arrays) {
  if constexpr (std::is_same_v<Table, LaunchTable>)
    if (((arrays.device_id() != table.device) || ...))
      throw std::invalid_argument("every array must lie on CUDA device " + std::to_string(table.device));
}

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

// Calls that turn scores into labels (bindings_scores.cpp).
template <class Table>
void def_score_calls(nanobind::class_<Table>& table);
void def_mask_scores(nanobind::module_& m);

// Calls on finished label maps (bindings_labels.cpp).
template <class Table>
void def_component_calls(nanobind::class_<Table>& table);
void def_label_calls(nanobind::class_<KernelTable>& table);

// Arrays of types that NumPy does not have (bindings_arrays.cpp).
void def_array_calls(nanobind::module_& m);

}  // namespace zeus
