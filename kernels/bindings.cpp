// With the other bindings*, the only files that know Python: they check arrays, then call a table.
#include "bindings.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "core/tasks.h"
#include "dispatch.h"
#include "launch_plan.h"

namespace nb = nanobind;
using namespace nb::literals;
using zeus::AnyIn;
using zeus::AnyOut;
using zeus::Array;
using zeus::Bytes;
using zeus::check_device;
using zeus::check_scratch;
using zeus::check_threads;
using zeus::is_type;
using zeus::KernelTable;
using zeus::LaunchTable;
using zeus::Matrix;
using zeus::matrix_of;
using zeus::On;
using zeus::real_type;
using zeus::same;
using zeus::Size3;
using zeus::size_of;

namespace {

constexpr const char* kScoreTypes = "scores must be float32, float16 or bfloat16";

template <class Table>
using Counts = nb::ndarray<std::uint64_t, nb::shape<zeus::Histogram::kBins>, nb::c_contig, On<Table>>;
using Triple = std::array<std::int64_t, 3>;

// The folded form of clamp((slope * stored + intercept - shift) * gain, low, high).
zeus::Intensity intensity(double slope, double intercept, double shift, double gain, double clamp_low,
                          double clamp_high, double outside, double empty) {
  for (double given : {slope, intercept, shift, gain})
    if (!std::isfinite(given)) throw std::invalid_argument("slope, intercept, shift and gain must be finite");
  if (!std::isfinite(float(empty))) throw std::invalid_argument("empty must be finite in float32");
  if (!(clamp_low <= clamp_high)) throw std::invalid_argument("clamp_low must not be above clamp_high");
  return {float(slope * gain), float((intercept - shift) * gain),
          float(clamp_low),    float(clamp_high),
          float(outside),      float(empty)};
}

zeus::Stored stored_type(nb::dlpack::dtype type) {
  using Code = nb::dlpack::dtype_code;
  if (is_type(type, Code::Int, 8)) return zeus::Stored::int8;
  if (is_type(type, Code::UInt, 8)) return zeus::Stored::uint8;
  if (is_type(type, Code::Int, 16)) return zeus::Stored::int16;
  if (is_type(type, Code::UInt, 16)) return zeus::Stored::uint16;
  if (is_type(type, Code::Int, 32)) return zeus::Stored::int32;
  if (is_type(type, Code::Float, 32)) return zeus::Stored::float32;
  throw nb::type_error("source must be int8, uint8, int16, uint16, int32 or float32");
}

zeus::Prepare prepare_sizes(Size3 source, Size3 result, const Matrix& matrix, const Triple& samples,
                            int threads) {
  check_threads(threads);
  zeus::Prepare call{};
  call.source_size = source;
  call.result_size = result;
  call.matrix = matrix_of(matrix);
  const int most = zeus::most_samples(call.matrix, result);
  for (int n = 0; n < 3; ++n) {
    if (samples[n] < 1 || samples[n] > most)
      throw std::invalid_argument("samples must be 1 to " + std::to_string(most) +
                                  " along each axis for this matrix");
    call.samples[n] = int(samples[n]);
  }
  return call;
}

int most_samples(const Triple& shape, const Matrix& matrix) {
  Size3 result;
  for (int n = 0; n < 3; ++n) {
    if (shape[n] < 1 || shape[n] > std::numeric_limits<std::int32_t>::max() / 2)
      throw std::invalid_argument("shape must be 1 to 2^30 - 1 along each axis");
    result.axis[n] = std::int32_t(shape[n]);
  }
  return zeus::most_samples(matrix_of(matrix), result);
}

template <class Table>
std::int64_t prepare_scratch(const Table& table, const AnyIn<Table, 3>& source, const AnyIn<Table, 3>& result,
                             const Matrix& matrix, Triple samples, int threads) {
  return table.prepare_scratch(
      prepare_sizes(size_of(source, "source"), size_of(result, "result"), matrix, samples, threads), threads);
}

template <class Table>
auto prepare(const Table& table, const AnyIn<Table, 3>& source, const AnyOut<Table, 3>& result,
             const Matrix& matrix, Triple samples, const zeus::Intensity& intensity,
             const Bytes<Table>& scratch, int threads) {
  check_device(table, source, result, scratch);
  zeus::Prepare call =
      prepare_sizes(size_of(source, "source"), size_of(result, "result"), matrix, samples, threads);
  call.source = source.data();
  call.source_type = stored_type(source.dtype());
  call.result = result.data();
  call.result_type = real_type(result.dtype(), "result must be float32, float16 or bfloat16");
  call.intensity = intensity;
  call.scratch = scratch.data();
  check_scratch(scratch, table.prepare_scratch(call, threads));
  return table.prepare(call, threads);
}

template <class Table>
std::int64_t histogram_scratch(const Table& table, int threads) {
  check_threads(threads);
  return table.histogram_scratch(threads);
}

template <class Table>
auto histogram(const Table& table, const AnyIn<Table, 3>& source, const Counts<Table>& counts,
               const Bytes<Table>& scratch, int threads) {
  check_device(table, source, counts, scratch);
  check_scratch(scratch, histogram_scratch(table, threads));
  return table.histogram({source.data(), stored_type(source.dtype()), zeus::voxels(size_of(source, "source")),
                          counts.data(), scratch.data()},
                         threads);
}

template <class Table>
auto blend_add(const Table& table, const Array<Table, const float, 4>& tile,
               const Array<Table, const float, 3>& weight, const Array<Table, float, 4>& sum,
               const Array<Table, float, 3>& weight_sum, Triple origin, int threads) {
  check_threads(threads);
  check_device(table, tile, weight, sum, weight_sum);
  zeus::BlendAdd call = {tile.data(),        weight.data(),         sum.data(),          weight_sum.data(),
                         int(tile.shape(0)), size_of(tile, "tile"), size_of(sum, "sum"), {}};
  if (tile.shape(0) != sum.shape(0) || tile.shape(0) == 0 || tile.shape(0) > 65535)
    throw std::invalid_argument("tile and sum must have the same number of classes, 1 to 65535");
  if (!same(call.tile_size, size_of(weight, "weight")))
    throw std::invalid_argument("tile and weight have different sizes");
  if (!same(call.sum_size, size_of(weight_sum, "weight_sum")))
    throw std::invalid_argument("sum and weight_sum have different sizes");
  for (int n = 0; n < 3; ++n) {
    if (origin[n] < 0 || origin[n] > call.sum_size.axis[n] - call.tile_size.axis[n])
      throw std::invalid_argument("the tile reaches outside sum");
    call.origin.axis[n] = std::int32_t(origin[n]);
  }
  return table.blend_add(call, threads);
}

template <class Table>
auto blend_normalise(const Table& table, const Array<Table, float, 4>& sum,
                     const Array<Table, const float, 3>& weight_sum, int threads) {
  check_threads(threads);
  check_device(table, sum, weight_sum);
  const Size3 size = size_of(sum, "sum");
  if (!same(size, size_of(weight_sum, "weight_sum")))
    throw std::invalid_argument("sum and weight_sum have different sizes");
  if (sum.shape(0) == 0 || sum.shape(0) > 65535)
    throw std::invalid_argument("sum must have 1 to 65535 classes");
  return table.blend_normalise({sum.data(), weight_sum.data(), int(sum.shape(0)), zeus::voxels(size)},
                               threads);
}

// The same calls for both kinds of table.
template <class Table>
void def_calls(nb::class_<Table>& table) {
  const auto release_gil = nb::call_guard<nb::gil_scoped_release>();
  table
      .def("prepare_scratch", &prepare_scratch<Table>, "source"_a.noconvert(), "result"_a.noconvert(),
           "matrix"_a.noconvert(), "samples"_a, "threads"_a, "Bytes of scratch that prepare() needs.")
      .def("prepare", &prepare<Table>, "source"_a.noconvert(), "result"_a.noconvert(), "matrix"_a.noconvert(),
           "samples"_a, "intensity"_a, "scratch"_a.noconvert(), "threads"_a, release_gil,
           "Fill `result` with rescaled, shifted and clamped trilinear samples of `source`; `matrix` (3, 4) "
           "maps "
           "result index to source index.")
      .def("histogram_scratch", &histogram_scratch<Table>, "threads"_a,
           "Bytes of scratch that histogram() needs.")
      .def("histogram", &histogram<Table>, "source"_a.noconvert(), "counts"_a.noconvert(),
           "scratch"_a.noconvert(), "threads"_a, release_gil,
           "Count stored values into `counts` (65536,); returns how many were NaN or infinite.")
      .def("blend_add", &blend_add<Table>, "tile"_a.noconvert(), "weight"_a.noconvert(), "sum"_a.noconvert(),
           "weight_sum"_a.noconvert(), "origin"_a, "threads"_a, release_gil,
           "Add `weight * tile` into `sum` and `weight` into `weight_sum` at `origin`.")
      .def("blend_normalise", &blend_normalise<Table>, "sum"_a.noconvert(), "weight_sum"_a.noconvert(),
           "threads"_a, release_gil, "Divide `sum` by `weight_sum` in place; 0 where the weight is 0.");
  def_score_calls(table);
  def_component_calls(table);
}

// An array in device memory, as DLPack hands it to a LaunchTable; keeps `owner` alive.
nb::ndarray<nb::device::cuda> device_capsule(std::uintptr_t pointer, const std::vector<std::size_t>& shape,
                                             const std::string& type, int device, nb::handle owner) {
  using Code = nb::dlpack::dtype_code;
  const struct {
    const char* name;
    Code code;
    std::uint8_t bits;
  } types[] = {{"int8", Code::Int, 8},        {"uint8", Code::UInt, 8},     {"int16", Code::Int, 16},
               {"uint16", Code::UInt, 16},    {"int32", Code::Int, 32},     {"int64", Code::Int, 64},
               {"uint64", Code::UInt, 64},    {"float16", Code::Float, 16}, {"float32", Code::Float, 32},
               {"bfloat16", Code::Bfloat, 16}};
  for (const auto& known : types)
    if (type == known.name)
      return nb::ndarray<nb::device::cuda>(reinterpret_cast<void*>(pointer), shape.size(), shape.data(),
                                           owner, nullptr, {std::uint8_t(known.code), known.bits, 1},
                                           nb::device::cuda::value, device);
  throw std::invalid_argument("no kernel reads arrays of " + type);
}

void def_launches(nb::module_& m) {
  using zeus::Launch;
  using zeus::LaunchPlan;
  nb::class_<Launch>(m, "Launch", "One launch of an entry point of cuda.cu.")
      .def_ro("entry", &Launch::entry)
      .def_ro("grid", &Launch::grid, "Blocks along x, y, z.")
      .def_ro("block", &Launch::block, "Threads along x, y, z.")
      .def_prop_ro(
          "arguments",
          [](const Launch& launch) { return nb::bytes(launch.arguments.data(), launch.arguments.size()); },
          "The one argument, a struct.");
  nb::class_<LaunchPlan>(m, "LaunchPlan", "A call packed for a CUDA device; nothing has run.")
      .def_ro("launches", &LaunchPlan::launches, "In order; each waits for the one before.")
      .def_ro("answer_at", &LaunchPlan::answer_at,
              "Device address of the uint64 that the call returns; 0 where it returns nothing.");
  nb::class_<LaunchTable> table(m, "LaunchTable",
                                "The calls of KernelTable, checked and packed for a CUDA device, not run.");
  table.def(nb::init<int>(), "device"_a)
      .def_ro("device", &LaunchTable::device, "Where every array must lie.");
  def_calls(table);
  m.def("device_capsule", &device_capsule, "pointer"_a, "shape"_a, "dtype"_a, "device"_a, "owner"_a,
        "A DLPack capsule of a C-contiguous array in CUDA memory; it keeps `owner` alive.");
}

}  // namespace

NB_MODULE(_kernels, m) {
  // A library prints nothing, also where an interrupted process ends with tables still alive.
  nb::set_leak_warnings(false);
  m.doc() =
      "Voxel kernels. Every function writes into arrays its caller allocated, never copies one, and "
      "gives the same bits for any number of threads and on every target.";

  m.def("table_names", &zeus::table_names, "Names that table() accepts on this machine, the fastest first.");
  m.def("table", &zeus::table, "name"_a, nb::rv_policy::reference,
        "Kernels called `name`, `cpu` being the fastest here; ValueError if there are none.");

  m.def("most_samples", &most_samples, "shape"_a, "matrix"_a.noconvert(),
        "Most samples along each axis that prepare() takes for a result of `shape`.");
  nb::class_<zeus::Intensity>(
      m, "Intensity", "clamp((slope * stored + intercept - shift) * gain); a stored 0 counts as `empty`.")
      .def(
          "__init__",
          [](zeus::Intensity* self, double slope, double intercept, double shift, double gain,
             double clamp_low, double clamp_high, double outside, double empty) {
            new (self) zeus::Intensity(
                intensity(slope, intercept, shift, gain, clamp_low, clamp_high, outside, empty));
          },
          nb::kw_only(), "slope"_a, "intercept"_a, "shift"_a, "gain"_a, "clamp_low"_a, "clamp_high"_a,
          "outside"_a, "empty"_a = 0.0);

  nb::class_<KernelTable> table(m, "KernelTable", "Every kernel, built for one target.");
  table.def_ro("name", &KernelTable::name);
  zeus::def_mask_scores(m);
  def_calls(table);
  def_label_calls(table);
  zeus::def_array_calls(m);
  def_launches(m);
}
