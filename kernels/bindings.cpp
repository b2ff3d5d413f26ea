// The only file that knows Python: it checks arrays, then calls a table.
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

#include "core/tasks.h"
#include "dispatch.h"

namespace nb = nanobind;
using namespace nb::literals;
using zeus::KernelTable;
using zeus::Size3;

namespace {

constexpr int kMostSamples = 16;

using Bytes = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Lookup = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Matrix = nb::ndarray<const double, nb::shape<3, 4>, nb::c_contig, nb::device::cpu>;
using Counts = nb::ndarray<std::uint64_t, nb::shape<zeus::Histogram::kBins>, nb::c_contig, nb::device::cpu>;
using Table256 = nb::ndarray<std::uint64_t, nb::shape<256>, nb::c_contig, nb::device::cpu>;
template <int axes>
using AnyIn = nb::ndarray<nb::ro, nb::ndim<axes>, nb::c_contig, nb::device::cpu>;
template <int axes>
using AnyOut = nb::ndarray<nb::ndim<axes>, nb::c_contig, nb::device::cpu>;
template <class T, int axes>
using Array = nb::ndarray<T, nb::ndim<axes>, nb::c_contig, nb::device::cpu>;
using Triple = std::array<std::int64_t, 3>;

// The folded form of clamp((slope * stored + intercept - shift) * gain, low, high).
zeus::Intensity intensity(double slope, double intercept, double shift, double gain, double clamp_low,
                          double clamp_high, double outside) {
  for (double given : {slope, intercept, shift, gain})
    if (!std::isfinite(given)) throw std::invalid_argument("slope, intercept, shift and gain must be finite");
  if (!(clamp_low <= clamp_high)) throw std::invalid_argument("clamp_low must not be above clamp_high");
  return {float(slope * gain), float((intercept - shift) * gain), float(clamp_low), float(clamp_high),
          float(outside)};
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

bool same(const Size3& a, const Size3& b) {
  return a.axis[0] == b.axis[0] && a.axis[1] == b.axis[1] && a.axis[2] == b.axis[2];
}

bool is_type(nb::dlpack::dtype type, nb::dlpack::dtype_code code, int bits) {
  return type.code == std::uint8_t(code) && type.bits == bits && type.lanes == 1;
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

zeus::Real real_type(nb::dlpack::dtype type, const char* message) {
  if (is_type(type, nb::dlpack::dtype_code::Float, 32)) return zeus::Real::float32;
  if (is_type(type, nb::dlpack::dtype_code::Float, 16)) return zeus::Real::float16;
  throw nb::type_error(message);
}

zeus::Matrix34 matrix_of(const Matrix& matrix) {
  zeus::Matrix34 copy;
  std::memcpy(&copy, matrix.data(), sizeof copy);
  for (const auto& row : copy.row)
    for (double entry : row)
      if (!(std::abs(entry) < 1e9))
        throw std::invalid_argument("matrix has an entry that is not finite or is huge");
  return copy;
}

void check_threads(int threads) {
  if (threads < 1 || threads > zeus::kMostThreads)
    throw std::invalid_argument("threads must be 1 to " + std::to_string(zeus::kMostThreads));
}

void check_scratch(const Bytes& scratch, std::int64_t needed) {
  if (std::int64_t(scratch.size()) < needed)
    throw std::invalid_argument("scratch has " + std::to_string(scratch.size()) + " bytes, this call needs " +
                                std::to_string(needed));
}

int class_count(std::size_t count) {
  if (count < 2 || count > 255) throw std::invalid_argument("scores must have 2 to 255 classes");
  return int(count);
}

zeus::Prepare prepare_sizes(Size3 source, Size3 result, const Matrix& matrix, const Triple& samples,
                            int threads) {
  check_threads(threads);
  zeus::Prepare call{};
  call.source_size = source;
  call.result_size = result;
  call.matrix = matrix_of(matrix);
  for (int n = 0; n < 3; ++n) {
    if (samples[n] < 1 || samples[n] > kMostSamples)
      throw std::invalid_argument("samples must be 1 to " + std::to_string(kMostSamples) +
                                  " along each axis");
    call.samples[n] = int(samples[n]);
  }
  return call;
}

std::int64_t prepare_scratch(const KernelTable& table, const AnyIn<3>& source, const AnyIn<3>& result,
                             const Matrix& matrix, Triple samples, int threads) {
  return table.prepare_scratch(
      prepare_sizes(size_of(source, "source"), size_of(result, "result"), matrix, samples, threads), threads);
}

void prepare(const KernelTable& table, const AnyIn<3>& source, const AnyOut<3>& result, const Matrix& matrix,
             Triple samples, const zeus::Intensity& intensity, const Bytes& scratch, int threads) {
  zeus::Prepare call =
      prepare_sizes(size_of(source, "source"), size_of(result, "result"), matrix, samples, threads);
  call.source = source.data();
  call.source_type = stored_type(source.dtype());
  call.result = result.data();
  call.result_type = real_type(result.dtype(), "result must be float32 or float16");
  call.intensity = intensity;
  call.scratch = scratch.data();
  check_scratch(scratch, table.prepare_scratch(call, threads));
  table.prepare(call, threads);
}

std::int64_t histogram_scratch(const KernelTable& table, int threads) {
  check_threads(threads);
  return table.histogram_scratch(threads);
}

std::uint64_t histogram(const KernelTable& table, const AnyIn<3>& source, const Counts& counts,
                        const Bytes& scratch, int threads) {
  check_scratch(scratch, histogram_scratch(table, threads));
  return table.histogram({source.data(), stored_type(source.dtype()), zeus::voxels(size_of(source, "source")),
                          counts.data(), scratch.data()},
                         threads);
}

void blend_add(const KernelTable& table, const Array<const float, 4>& tile,
               const Array<const float, 3>& weight, const Array<float, 4>& sum,
               const Array<float, 3>& weight_sum, Triple origin, int threads) {
  check_threads(threads);
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
  table.blend_add(call, threads);
}

void blend_normalise(const KernelTable& table, const Array<float, 4>& sum,
                     const Array<const float, 3>& weight_sum, int threads) {
  check_threads(threads);
  const Size3 size = size_of(sum, "sum");
  if (!same(size, size_of(weight_sum, "weight_sum")))
    throw std::invalid_argument("sum and weight_sum have different sizes");
  if (sum.shape(0) == 0 || sum.shape(0) > 65535)
    throw std::invalid_argument("sum must have 1 to 65535 classes");
  table.blend_normalise({sum.data(), weight_sum.data(), int(sum.shape(0)), zeus::voxels(size)}, threads);
}

void argmax(const KernelTable& table, const AnyIn<4>& scores, const Array<std::uint8_t, 3>& result,
            const Lookup& values, int threads) {
  check_threads(threads);
  const int classes = class_count(scores.shape(0));
  const zeus::Real type = real_type(scores.dtype(), "scores must be float32 or float16");
  const Size3 size = size_of(scores, "scores");
  if (values.shape(0) != std::size_t(classes))
    throw std::invalid_argument("values must have one entry per class");
  if (!same(size, size_of(result, "result")))
    throw std::invalid_argument("scores and result have different sizes");
  table.argmax({scores.data(), type, classes, zeus::voxels(size), values.data(), result.data()}, threads);
}

zeus::Label label_sizes(const AnyIn<4>& scores, const Array<std::uint8_t, 3>& result, const Matrix& matrix) {
  zeus::Label call{};
  call.scores = scores.data();
  call.type = real_type(scores.dtype(), "scores must be float32 or float16");
  call.classes = class_count(scores.shape(0));
  call.score_size = size_of(scores, "scores");
  call.result = result.data();
  call.result_size = size_of(result, "result");
  call.matrix = matrix_of(matrix);
  return call;
}

std::int64_t label_scratch(const KernelTable& table, const AnyIn<4>& scores,
                           const Array<std::uint8_t, 3>& result, const Matrix& matrix) {
  return table.label_scratch(label_sizes(scores, result, matrix));
}

void label(const KernelTable& table, const AnyIn<4>& scores, const Array<std::uint8_t, 3>& result,
           const Matrix& matrix, const Lookup& values, std::uint8_t outside, const Bytes& scratch,
           int threads) {
  check_threads(threads);
  zeus::Label call = label_sizes(scores, result, matrix);
  if (values.shape(0) != std::size_t(call.classes))
    throw std::invalid_argument("values must have one entry per class");
  call.values = values.data();
  call.outside = outside;
  call.scratch = scratch.data();
  check_scratch(scratch, table.label_scratch(call));
  table.label(call, threads);
}

std::int64_t components_scratch(const KernelTable& table, const Array<std::uint8_t, 3>& labels,
                                std::int64_t runs) {
  const Size3 size = size_of(labels, "labels");
  if (zeus::voxels(size) > std::numeric_limits<std::int32_t>::max())
    throw std::invalid_argument("labels has more than 2^31 - 1 voxels; work on a part of it");
  if (runs < 0 || runs > zeus::voxels(size))
    throw std::invalid_argument("runs must be 0 to the voxels of labels");
  return table.components_scratch(size, runs);
}

std::int64_t components(const KernelTable& table, const Array<std::uint8_t, 3>& labels, const Lookup& groups,
                        int neighbours, bool largest, std::int64_t least_voxels, std::uint8_t background,
                        const Table256& removed, const Bytes& scratch, int threads) {
  check_threads(threads);
  check_scratch(scratch, components_scratch(table, labels, 0));
  if (groups.shape(0) != 256) throw std::invalid_argument("groups must have one entry per label, 256");
  if (neighbours != 6 && neighbours != 18 && neighbours != 26)
    throw std::invalid_argument("neighbours must be 6, 18 or 26");
  if (least_voxels < 0 || least_voxels > std::numeric_limits<std::int32_t>::max())
    throw std::invalid_argument("least_voxels must be 0 to 2^31 - 1");
  return table.components(
      {labels.data(), size_of(labels, "labels"), groups.data(), zeus::Neighbours(neighbours), largest,
       std::int32_t(least_voxels), background, removed.data(), scratch.data()},
      std::int64_t(scratch.size()), threads);
}

using RowTable = nb::ndarray<std::int32_t, nb::shape<-1, 256>, nb::c_contig, nb::device::cpu>;

void slice_content(const KernelTable& table, const Array<const std::uint8_t, 3>& labels,
                   const nb::ndarray<std::int64_t, nb::shape<-1, 256>, nb::c_contig, nb::device::cpu>& counts,
                   const RowTable& first_row, const RowTable& last_row, int threads) {
  check_threads(threads);
  const Size3 size = size_of(labels, "labels");
  for (std::size_t slices : {counts.shape(0), first_row.shape(0), last_row.shape(0)})
    if (slices != labels.shape(0))
      throw std::invalid_argument("counts, first_row and last_row must have one row per slice of labels");
  table.slice_content({labels.data(), size, counts.data(), first_row.data(), last_row.data()}, threads);
}

void pack(const KernelTable& table, const Array<const std::uint8_t, 3>& labels,
          const nb::ndarray<const std::int32_t, nb::shape<-1, 256>, nb::c_contig, nb::device::cpu>& first_row,
          const nb::ndarray<const std::int32_t, nb::shape<-1, 256>, nb::c_contig, nb::device::cpu>& last_row,
          const nb::ndarray<const std::uint8_t, nb::shape<-1, 256>, nb::c_contig, nb::device::cpu>& tables,
          const nb::ndarray<const std::int32_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>& frames,
          const Bytes& bits, int threads) {
  check_threads(threads);
  const Size3 size = size_of(labels, "labels");
  if (first_row.shape(0) != labels.shape(0) || last_row.shape(0) != labels.shape(0))
    throw std::invalid_argument("first_row and last_row must have one row per slice of labels");
  const std::int64_t count = std::int64_t(frames.shape(0)), rows = size.axis[1];
  for (std::int64_t n = 0; n < std::int64_t(labels.shape(0)) * 256; ++n)
    if (first_row.data()[n] < 0 || first_row.data()[n] > last_row.data()[n] || last_row.data()[n] > rows)
      throw std::invalid_argument("first_row and last_row are not those of labels");
  for (std::int64_t n = 0; n < count; ++n) {
    const std::int32_t slice = frames.data()[2 * n], structure = frames.data()[2 * n + 1];
    if (slice < 0 || slice >= size.axis[0] || structure < 0 || structure >= std::int64_t(tables.shape(0)))
      throw std::invalid_argument("a frame names a slice or a table that is not there");
  }
  for (std::size_t n = 0; n < tables.size(); ++n)
    if (tables.data()[n] > 1) throw std::invalid_argument("tables must hold 0 and 1 only");
  if (std::int64_t(bits.size()) != (count * rows * size.axis[2] + 7) / 8)
    throw std::invalid_argument("bits must have one bit per pixel of every frame, rounded up to bytes");
  table.pack({labels.data(), size, first_row.data(), last_row.data(), tables.data(),
              reinterpret_cast<const zeus::Frame*>(frames.data()), count, bits.data()},
             threads);
}

}  // namespace

NB_MODULE(_kernels, m) {
  // A library prints nothing, also where an interrupted process ends with tables still alive.
  nb::set_leak_warnings(false);
  m.doc() =
      "Voxel kernels. Every function writes into arrays its caller allocated, never copies one, and "
      "gives the same bits for any number of threads and on every target.";
  const auto release_gil = nb::call_guard<nb::gil_scoped_release>();

  m.def("table_names", &zeus::table_names, "Names that table() accepts on this machine, the fastest first.");
  m.def("table", &zeus::table, "name"_a, nb::rv_policy::reference,
        "Kernels called `name`, `cpu` being the fastest here; ValueError if there are none.");

  nb::class_<zeus::Intensity>(m, "Intensity", "clamp((slope * stored + intercept - shift) * gain).")
      .def(
          "__init__",
          [](zeus::Intensity* self, double slope, double intercept, double shift, double gain,
             double clamp_low, double clamp_high, double outside) {
            new (self)
                zeus::Intensity(intensity(slope, intercept, shift, gain, clamp_low, clamp_high, outside));
          },
          nb::kw_only(), "slope"_a, "intercept"_a, "shift"_a, "gain"_a, "clamp_low"_a, "clamp_high"_a,
          "outside"_a);

  nb::class_<KernelTable>(m, "KernelTable", "Every kernel, built for one target.")
      .def_ro("name", &KernelTable::name)
      .def("prepare_scratch", &prepare_scratch, "source"_a.noconvert(), "result"_a.noconvert(),
           "matrix"_a.noconvert(), "samples"_a, "threads"_a, "Bytes of scratch that prepare() needs.")
      .def("prepare", &prepare, "source"_a.noconvert(), "result"_a.noconvert(), "matrix"_a.noconvert(),
           "samples"_a, "intensity"_a, "scratch"_a.noconvert(), "threads"_a, release_gil,
           "Fill `result` with rescaled, shifted and clamped trilinear samples of `source`; `matrix` (3, 4) "
           "maps "
           "result index to source index.")
      .def("histogram_scratch", &histogram_scratch, "threads"_a, "Bytes of scratch that histogram() needs.")
      .def("histogram", &histogram, "source"_a.noconvert(), "counts"_a.noconvert(), "scratch"_a.noconvert(),
           "threads"_a, release_gil,
           "Count stored values into `counts` (65536,); returns how many were NaN or infinite.")
      .def("blend_add", &blend_add, "tile"_a.noconvert(), "weight"_a.noconvert(), "sum"_a.noconvert(),
           "weight_sum"_a.noconvert(), "origin"_a, "threads"_a, release_gil,
           "Add `weight * tile` into `sum` and `weight` into `weight_sum` at `origin`.")
      .def("blend_normalise", &blend_normalise, "sum"_a.noconvert(), "weight_sum"_a.noconvert(), "threads"_a,
           release_gil, "Divide `sum` by `weight_sum` in place; 0 where the weight is 0.")
      .def("argmax", &argmax, "scores"_a.noconvert(), "result"_a.noconvert(), "values"_a.noconvert(),
           "threads"_a, release_gil,
           "values[argmax of scores over axis 0]; the lowest class wins a tie, NaN never wins.")
      .def("label_scratch", &label_scratch, "scores"_a.noconvert(), "result"_a.noconvert(),
           "matrix"_a.noconvert(), "Bytes of scratch that label() needs.")
      .def("label", &label, "scores"_a.noconvert(), "result"_a.noconvert(), "matrix"_a.noconvert(),
           "values"_a.noconvert(), "outside"_a, "scratch"_a.noconvert(), "threads"_a, release_gil,
           "values[argmax of the trilinear scores] on the result grid; `matrix` (3, 4) maps result index to "
           "score "
           "index.")
      .def("components_scratch", &components_scratch, "labels"_a.noconvert(), "runs"_a,
           "Bytes of scratch for `runs` runs of equal labels along the last axis.")
      .def("components", &components, "labels"_a.noconvert(), "groups"_a.noconvert(), "neighbours"_a,
           "largest"_a, "least_voxels"_a, "background"_a, "removed"_a.noconvert(), "scratch"_a.noconvert(),
           "threads"_a, release_gil,
           "Remove small components in place; labels of one non-zero group (256,) are one structure and "
           "`removed` (256,) counts voxels of each label. Returns the bytes of scratch it needs and does "
           "nothing where there are fewer.")
      .def("slice_content", &slice_content, "labels"_a.noconvert(), "counts"_a.noconvert(),
           "first_row"_a.noconvert(), "last_row"_a.noconvert(), "threads"_a, release_gil,
           "Voxels of each label in each slice (slices, 256), and the rows [first, last) it reaches.")
      .def("pack", &pack, "labels"_a.noconvert(), "first_row"_a.noconvert(), "last_row"_a.noconvert(),
           "tables"_a.noconvert(), "frames"_a.noconvert(), "bits"_a.noconvert(), "threads"_a, release_gil,
           "1-bit frames end to end, lowest bit first; `frames` (n, 2) names slice and row of `tables` (m, "
           "256).");
}
