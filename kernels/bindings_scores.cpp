// The calls that turn class scores into labels: it checks arrays, then calls a table.
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>

#include <array>
#include <utility>

#include "bindings.h"
#include "confidence.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace zeus {
namespace {

constexpr int kMostFeatures = 4096;

// Features and what makes scores of them; the arrays stay alive with it.
template <class Table>
struct MaskScores {
  AnyIn<Table, 4> features;
  Array<Table, const float, 2> vectors;
  Array<Table, const float, 1> biases;
};

int class_count(std::size_t count) {
  if (count < 2 || count > 255) throw std::invalid_argument("scores must have 2 to 255 classes");
  return int(count);
}

// Of a label map and of `values`, the label of each class.
LabelValue label_type(nb::dlpack::dtype result) {
  if (is_type(result, nb::dlpack::dtype_code::UInt, 8)) return LabelValue::uint8;
  if (is_type(result, nb::dlpack::dtype_code::UInt, 16)) return LabelValue::uint16;
  throw nb::type_error("result must be uint8 or uint16");
}

template <class Table>
const void* checked_values(const AnyIn<Table, 1>& values, nb::dlpack::dtype result, int classes) {
  if (!(values.dtype() == result)) throw nb::type_error("values must have the type of result");
  if (values.shape(0) != std::size_t(classes))
    throw std::invalid_argument("values must have one entry per class");
  return values.data();
}

template <class Table>
MaskScores<Table> mask_scores(const Table& table, const AnyIn<Table, 4>& features,
                              const Array<Table, const float, 2>& vectors,
                              const Array<Table, const float, 1>& biases) {
  check_device(table, features, vectors, biases);
  real_type(features.dtype(), "features must be float32, float16 or bfloat16");
  size_of(features, "features");
  if (features.shape(0) < 1 || features.shape(0) > kMostFeatures)
    throw std::invalid_argument("a voxel must have 1 to " + std::to_string(kMostFeatures) + " features");
  if (vectors.shape(1) != features.shape(0))
    throw std::invalid_argument("vectors must have one column per feature");
  class_count(vectors.shape(0));
  if (biases.shape(0) != vectors.shape(0))
    throw std::invalid_argument("biases must have one entry per row of vectors");
  return {features, vectors, biases};
}

template <class Table>
Scores scores_of(const AnyIn<Table, 4>& scores) {
  return {scores.data(),
          real_type(scores.dtype(), "scores must be float32, float16 or bfloat16"),
          class_count(scores.shape(0)),
          size_of(scores, "scores"),
          0,
          nullptr,
          nullptr};
}

template <class Table>
Scores scores_of(const MaskScores<Table>& scores) {
  return {scores.features.data(),
          real_type(scores.features.dtype(), "features must be float32, float16 or bfloat16"),
          int(scores.vectors.shape(0)),
          size_of(scores.features, "features"),
          int(scores.features.shape(0)),
          scores.vectors.data(),
          scores.biases.data()};
}

template <class Table>
const AnyIn<Table, 4>& array_of(const AnyIn<Table, 4>& scores) {
  return scores;
}

template <class Table>
const AnyIn<Table, 4>& array_of(const MaskScores<Table>& scores) {
  return scores.features;
}

template <class Table>
auto argmax(const Table& table, const AnyIn<Table, 4>& scores, const AnyOut<Table, 3>& result,
            const AnyIn<Table, 1>& values, int threads) {
  check_threads(threads);
  check_device(table, scores, result, values);
  const Scores given = scores_of<Table>(scores);
  if (!same(given.size, size_of(result, "result")))
    throw std::invalid_argument("scores and result have different sizes");
  const LabelValue label = label_type(result.dtype());
  return table.argmax({given.data, given.type, given.classes, voxels(given.size),
                       checked_values<Table>(values, result.dtype(), given.classes), result.data(), label},
                      threads);
}

template <class Table, class From>
Label label_sizes(const From& scores, const AnyOut<Table, 3>& result, const Matrix& matrix) {
  Label call{};
  call.scores = scores_of<Table>(scores);
  call.result = result.data();
  call.label = label_type(result.dtype());
  call.result_size = size_of(result, "result");
  call.matrix = matrix_of(matrix);
  for (int n = 0; n < 3; ++n) call.window[n] = {0, call.result_size.axis[n]};
  return call;
}

template <class Table, class From>
std::int64_t label_scratch(const Table& table, const From& scores, const AnyOut<Table, 3>& result,
                           const Matrix& matrix, int threads) {
  check_threads(threads);
  return table.label_scratch(label_sizes<Table>(scores, result, matrix), threads);
}

template <class Table>
using Gathered = Array<Table, std::int64_t, 2>;

template <class Table>
Gather gather_into(const Table& table, const Gathered<Table>& gathered, int classes) {
  if (!gathered.is_valid()) return {nullptr, 0};
  check_device(table, gathered);
  const std::size_t columns = gathered.shape(1);
  if (gathered.shape(0) != std::size_t(classes) || (columns != kCountColumns && columns != kGatherColumns))
    throw std::invalid_argument("gathered must have one row per class, of " + std::to_string(kCountColumns) +
                                " columns, or of " + std::to_string(kGatherColumns) + " with confidence");
  return {gathered.data(), int(columns)};
}

template <class Table, class From>
Label label_call(const Table& table, const From& scores, const AnyOut<Table, 3>& result, const Matrix& matrix,
                 const AnyIn<Table, 1>& values, std::uint16_t outside, const Bytes<Table>& scratch,
                 int threads) {
  check_threads(threads);
  check_device(table, array_of<Table>(scores), result, values, scratch);
  Label call = label_sizes<Table>(scores, result, matrix);
  call.values = checked_values<Table>(values, result.dtype(), call.scores.classes);
  call.outside = outside;
  if (call.label == LabelValue::uint8 && outside > 255)
    throw std::invalid_argument("outside must be 0 to 255 where result is uint8");
  call.scratch = scratch.data();
  check_scratch(scratch, table.label_scratch(call, threads));
  return call;
}

template <class Table, class From>
auto label(const Table& table, const From& scores, const AnyOut<Table, 3>& result, const Matrix& matrix,
           const AnyIn<Table, 1>& values, std::uint16_t outside, const Bytes<Table>& scratch, int threads,
           const Gathered<Table>& gathered) {
  Label call = label_call<Table>(table, scores, result, matrix, values, outside, scratch, threads);
  call.gather = gather_into(table, gathered, call.scores.classes);
  return table.label(call, threads);
}

template <class Table, class From>
auto label_window(const Table& table, const From& scores, const AnyOut<Table, 3>& result,
                  const Matrix& matrix, const AnyIn<Table, 1>& values, std::uint16_t outside,
                  const Bytes<Table>& scratch, int threads,
                  const std::array<std::pair<std::int64_t, std::int64_t>, 3>& window) {
  Label call = label_call<Table>(table, scores, result, matrix, values, outside, scratch, threads);
  for (int n = 0; n < 3; ++n) {
    const auto [first, last] = window[n];
    if (first < 0 || first >= last || last > call.result_size.axis[n])
      throw std::invalid_argument("window must hold voxels of result, [first, last) along each axis");
    call.window[n] = {int(first), int(last)};
  }
  return table.label(call, threads);
}

template <class Table, class From>
CandidateBox candidate_sizes(const From& scores, std::int64_t target, int threads) {
  check_threads(threads);
  CandidateBox call{};
  call.scores = scores_of<Table>(scores);
  if (target < 0 || target >= call.scores.classes) throw std::invalid_argument("target must be a class");
  call.target = int(target);
  return call;
}

template <class Table, class From>
std::int64_t candidate_scratch(const Table& table, const From& scores, int threads) {
  return table.candidate_scratch(candidate_sizes<Table>(scores, 0, threads), threads);
}

template <class Table, class From>
auto candidate_box(const Table& table, const From& scores, std::int64_t target,
                   const Array<Table, std::int64_t, 1>& box, const Bytes<Table>& scratch, int threads) {
  check_device(table, array_of<Table>(scores), box, scratch);
  CandidateBox call = candidate_sizes<Table>(scores, target, threads);
  if (box.shape(0) != 6) throw std::invalid_argument("box must have 6 entries");
  call.box = box.data();
  call.scratch = scratch.data();
  check_scratch(scratch, table.candidate_scratch(call, threads));
  return table.candidate_box(call, threads);
}

template <class Table, class From>
void def_label(nb::class_<Table>& table) {
  table
      .def("label_scratch", &label_scratch<Table, From>, "scores"_a.noconvert(), "result"_a.noconvert(),
           "matrix"_a.noconvert(), "threads"_a, "Bytes of scratch that label() needs.")
      .def(
          "label", &label<Table, From>, "scores"_a.noconvert(), "result"_a.noconvert(),
          "matrix"_a.noconvert(), "values"_a.noconvert(), "outside"_a, "scratch"_a.noconvert(), "threads"_a,
          "gathered"_a.noconvert().none() = nb::none(), nb::call_guard<nb::gil_scoped_release>(),
          "values[argmax of the trilinear scores] on the result grid; `scores` (C, D, H, W) or "
          "mask_scores(); "
          "`matrix` (3, 4) maps result index to score index. `gathered` (C, 8) becomes voxels, those at the "
          "border, first index (3) and last index + 1 (3) of each class; (C, 10) also sums of its margin and "
          "entropy.")
      .def("label_window", &label_window<Table, From>, "scores"_a.noconvert(), "result"_a.noconvert(),
           "matrix"_a.noconvert(), "values"_a.noconvert(), "outside"_a, "scratch"_a.noconvert(), "threads"_a,
           "window"_a, nb::call_guard<nb::gil_scoped_release>(),
           "As label(), for the result voxels [first, last) along each axis alone: the bits of a whole call; "
           "all other voxels stay as they are.")
      .def("candidate_scratch", &candidate_scratch<Table, From>, "scores"_a.noconvert(), "threads"_a,
           "Bytes of scratch that candidate_box() needs.")
      .def("candidate_box", &candidate_box<Table, From>, "scores"_a.noconvert(), "target"_a,
           "box"_a.noconvert(), "scratch"_a.noconvert(), "threads"_a,
           nb::call_guard<nb::gil_scoped_release>(),
           "The box (6,) of the cells of `scores` in which class `target` may win: first along each axis and "
           "one past the last; the size of the scores and 0 where there is none.");
}

template <class Table>
void def_mask_scores_of(nb::module_& m, const char* name) {
  nb::class_<MaskScores<Table>>(m, name, "Scores that label() makes of features where it needs them.");
}

}  // namespace

template <class Table>
void def_score_calls(nb::class_<Table>& table) {
  table
      .def("argmax", &argmax<Table>, "scores"_a.noconvert(), "result"_a.noconvert(), "values"_a.noconvert(),
           "threads"_a, nb::call_guard<nb::gil_scoped_release>(),
           "values[argmax of scores over axis 0]; the lowest class wins a tie, NaN never wins.")
      .def("mask_scores", &mask_scores<Table>, "features"_a.noconvert(), "vectors"_a.noconvert(),
           "biases"_a.noconvert(),
           "Scores for label(): ((f0 * v0 + f1 * v1) + ...) + bias in float32, of features (F, D, H, W), "
           "vectors (C, F) and biases (C,).");
  def_label<Table, MaskScores<Table>>(table);
  def_label<Table, AnyIn<Table, 4>>(table);
}

template void def_score_calls(nb::class_<KernelTable>&);
template void def_score_calls(nb::class_<LaunchTable>&);

void def_mask_scores(nb::module_& m) {
  m.attr("MARGIN_ONE") = double(kMarginOne);
  m.attr("MOST_MARGIN") = double(kMostMargin);
  m.attr("ENTROPY_ONE") = double(kEntropyOne);
  def_mask_scores_of<KernelTable>(m, "MaskScores");
  def_mask_scores_of<LaunchTable>(m, "DeviceMaskScores");
}

}  // namespace zeus
