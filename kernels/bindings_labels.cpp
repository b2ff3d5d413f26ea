// The calls on finished label maps: it checks arrays, then calls a table.
#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zeus {
namespace {

template <class Table>
using Sums = nb::ndarray<std::uint64_t, nb::shape<256>, nb::c_contig, On<Table>>;
using CpuBytes = Bytes<KernelTable>;
template <class T>
using Labels = nb::ndarray<T, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
template <class T, int columns>
using Rows = nb::ndarray<T, nb::shape<-1, columns>, nb::c_contig, nb::device::cpu>;
using AnyLabels = nb::ndarray<nb::ro, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
template <class T>
using PerSlice = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <class Table>
std::int64_t components_scratch(const Table& table, const Array<Table, std::uint8_t, 3>& labels,
                                std::int64_t runs) {
  const Size3 size = size_of(labels, "labels");
  if (voxels(size) > std::numeric_limits<std::int32_t>::max())
    throw std::invalid_argument("labels has more than 2^31 - 1 voxels; work on a part of it");
  if (runs < 0 || runs > voxels(size)) throw std::invalid_argument("runs must be 0 to the voxels of labels");
  return table.components_scratch(size, runs);
}

template <class Table>
auto components(const Table& table, const Array<Table, std::uint8_t, 3>& labels,
                const Array<Table, const std::uint8_t, 1>& groups, int neighbours, bool largest,
                std::int64_t least_voxels, std::uint8_t background, const Sums<Table>& removed,
                const Bytes<Table>& scratch, int threads) {
  check_threads(threads);
  check_device(table, labels, groups, removed, scratch);
  check_scratch(scratch, components_scratch(table, labels, 0));
  if (groups.shape(0) != 256) throw std::invalid_argument("groups must have one entry per label, 256");
  if (neighbours != 6 && neighbours != 18 && neighbours != 26)
    throw std::invalid_argument("neighbours must be 6, 18 or 26");
  if (least_voxels < 0 || least_voxels > std::numeric_limits<std::int32_t>::max())
    throw std::invalid_argument("least_voxels must be 0 to 2^31 - 1");
  return table.components({labels.data(), size_of(labels, "labels"), groups.data(), Neighbours(neighbours),
                           largest, std::int32_t(least_voxels), background, removed.data(), scratch.data()},
                          std::int64_t(scratch.size()), threads);
}

void slice_content(const KernelTable& table, const Labels<const std::uint8_t>& labels,
                   const Rows<std::int64_t, 256>& counts, const Rows<std::int32_t, 256>& first_row,
                   const Rows<std::int32_t, 256>& last_row, int threads) {
  check_threads(threads);
  const Size3 size = size_of(labels, "labels");
  for (std::size_t slices : {counts.shape(0), first_row.shape(0), last_row.shape(0)})
    if (slices != labels.shape(0))
      throw std::invalid_argument("counts, first_row and last_row must have one row per slice of labels");
  table.slice_content({labels.data(), size, counts.data(), first_row.data(), last_row.data()}, threads);
}

void pack(const KernelTable& table, const Labels<const std::uint8_t>& labels,
          const Rows<const std::int32_t, 256>& first_row, const Rows<const std::int32_t, 256>& last_row,
          const Rows<const std::uint8_t, 256>& tables, const Rows<const std::int32_t, 2>& frames,
          const CpuBytes& bits, int threads) {
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
              reinterpret_cast<const Frame*>(frames.data()), count, bits.data()},
             threads);
}

RunLengthSource run_length_source(const AnyLabels& labels) {
  const nb::dlpack::dtype type = labels.dtype();
  const bool integers = type.code == std::uint8_t(nb::dlpack::dtype_code::UInt) && type.lanes == 1;
  if (!integers || (type.bits != 8 && type.bits != 16))
    throw nb::type_error("labels must be uint8 or uint16");
  const Size3 size = size_of(labels, "labels");
  if (std::int64_t(size.axis[1]) * size.axis[2] > std::numeric_limits<std::int32_t>::max() / 2)
    throw std::invalid_argument("a slice of labels has more than 2^30 - 1 pixels");  // offsets have 32 bits
  return {labels.data(), size, type.bits / 8};
}

template <class T>
void check_per_slice(const AnyLabels& labels, const PerSlice<T>& numbers, const char* name) {
  if (numbers.shape(0) != labels.shape(0))
    throw std::invalid_argument(std::string(name) + " must have one number per slice of labels");
}

void run_length_sizes(const KernelTable& table, const AnyLabels& labels, const PerSlice<std::int64_t>& sizes,
                      int threads) {
  check_threads(threads);
  check_per_slice(labels, sizes, "sizes");
  table.run_length_sizes({run_length_source(labels), sizes.data()}, threads);
}

void run_length(const KernelTable& table, const AnyLabels& labels, const PerSlice<const std::int64_t>& ends,
                const CpuBytes& bytes, const PerSlice<std::int64_t>& needed, int threads) {
  check_threads(threads);
  check_per_slice(labels, ends, "ends");
  check_per_slice(labels, needed, "needed");
  std::int64_t begin = 0;
  for (std::size_t n = 0; n < ends.shape(0); begin = ends.data()[n++])
    if (ends.data()[n] < begin || ends.data()[n] > std::int64_t(bytes.size()))
      throw std::invalid_argument("ends must ascend within bytes");
  table.run_length({run_length_source(labels), ends.data(), bytes.data(), needed.data()}, threads);
  begin = 0;
  for (std::size_t n = 0; n < ends.shape(0); begin = ends.data()[n++])
    if (needed.data()[n] != ends.data()[n] - begin)
      throw std::invalid_argument("ends are not the sums of run_length_sizes() of labels");
}

}  // namespace

template <class Table>
void def_component_calls(nb::class_<Table>& table) {
  table
      .def("components_scratch", &components_scratch<Table>, "labels"_a.noconvert(), "runs"_a,
           "Bytes of scratch for `runs` runs of equal labels along the last axis.")
      .def("components", &components<Table>, "labels"_a.noconvert(), "groups"_a.noconvert(), "neighbours"_a,
           "largest"_a, "least_voxels"_a, "background"_a, "removed"_a.noconvert(), "scratch"_a.noconvert(),
           "threads"_a, nb::call_guard<nb::gil_scoped_release>(),
           "Remove small components in place; labels of one non-zero group (256,) are one structure and "
           "`removed` (256,) counts voxels of each label. Returns the bytes of scratch it needs and does "
           "nothing where there are fewer.");
}

template void def_component_calls(nb::class_<KernelTable>&);
template void def_component_calls(nb::class_<LaunchTable>&);

void def_label_calls(nb::class_<KernelTable>& table) {
  const auto release_gil = nb::call_guard<nb::gil_scoped_release>();
  table
      .def("slice_content", &slice_content, "labels"_a.noconvert(), "counts"_a.noconvert(),
           "first_row"_a.noconvert(), "last_row"_a.noconvert(), "threads"_a, release_gil,
           "Voxels of each label in each slice (slices, 256), and the rows [first, last) it reaches.")
      .def("pack", &pack, "labels"_a.noconvert(), "first_row"_a.noconvert(), "last_row"_a.noconvert(),
           "tables"_a.noconvert(), "frames"_a.noconvert(), "bits"_a.noconvert(), "threads"_a, release_gil,
           "1-bit frames end to end, lowest bit first; `frames` (n, 2) names slice and row of `tables` (m, "
           "256).")
      .def("run_length_sizes", &run_length_sizes, "labels"_a.noconvert(), "sizes"_a.noconvert(), "threads"_a,
           release_gil, "Bytes (slices,) that each slice takes as a frame of DICOM's RLE Lossless.")
      .def("run_length", &run_length, "labels"_a.noconvert(), "ends"_a.noconvert(), "bytes"_a.noconvert(),
           "needed"_a.noconvert(), "threads"_a, release_gil,
           "Those frames end to end; `ends` (slices,) are the sums of their sizes, `needed` (slices,) "
           "becomes them.");
}

}  // namespace zeus
