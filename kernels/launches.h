// Every call as launches over single voxels: which structs run, in which order, from where to where.
//
// One text for two users: cpu_voxel.cpp runs the launches on the CPU, launch_plan.cpp packs them for a CUDA
// device.
#pragma once

#include "argmax.h"
#include "blend.h"
#include "candidates.h"
#include "components_voxel.h"
#include "core/types.h"
#include "histogram.h"
#include "label.h"
#include "label_confident.h"
#include "label_oblique.h"
#include "prepare_aligned.h"
#include "prepare_oblique.h"

namespace zeus {
namespace {

// The entry point of a launch: these three, as far as they are there, with underscores between them.
struct Entry {
  const char* kernel;
  const char* from;  // type of the source, or nullptr
  const char* to;    // type of the result, or nullptr
};

// Each of these calls launch(Entry, struct) for one launch after the other; each waits for the one before.

template <class Launch>
VOXEL_FN void launch_prepare(const Prepare& given, Launch launch) {
  const char *const from = name_of(given.source_type), *const to = name_of(given.result_type);
  const bool aligned = axis_map(given.matrix, given.result_size).aligned;
  if (aligned) launch(Entry{"prepare_taps", nullptr, nullptr}, PrepareTaps(given));
  with_stored(given.source_type, [&](auto source) {
    with_real(given.result_type, [&](auto result) {
      using T = typename decltype(source)::type;
      using R = typename decltype(result)::type;
      if (aligned)
        launch(Entry{"prepare_aligned", from, to}, PrepareAligned<T, R>(given, 0));
      else
        launch(Entry{"prepare_oblique", from, to}, PrepareOblique<T, R>(given, 0));
    });
  });
}

template <class Launch>
VOXEL_FN void launch_histogram(const Histogram& given, Launch launch) {
  launch(Entry{"histogram_clear", nullptr, nullptr}, HistogramClear{Tally(given)});
  with_stored(given.source_type, [&](auto source) {
    launch(Entry{"histogram", name_of(given.source_type), nullptr},
           HistogramVoxels<typename decltype(source)::type>(given));
  });
}

template <class Launch>
VOXEL_FN void launch_blend_add(const BlendAdd& given, Launch launch) {
  launch(Entry{"blend_add", nullptr, nullptr}, given);
}

template <class Launch>
VOXEL_FN void launch_blend_normalise(const BlendNormalise& given, Launch launch) {
  launch(Entry{"blend_normalise", nullptr, nullptr}, given);
}

template <class Launch>
VOXEL_FN void launch_argmax(const Argmax& given, Launch launch) {
  with_real(given.type, [&](auto score) {
    with_label(given.label, [&](auto label) {
      launch(Entry{"argmax", name_of(given.type), name_of(given.label)},
             ArgmaxOf<typename decltype(score)::type, typename decltype(label)::type, false>(given, 0));
    });
  });
}

template <class S, class R, class Launch>
VOXEL_FN void launch_label_as(const Label& given, Launch launch) {
  const char *const from = name_of(given.scores.type), *const to = name_of(given.label);
  const Gather& gather = given.gather;
  if (gather.columns > 0)
    launch(Entry{"gather_clear", nullptr, nullptr},
           GatherClear{gather.table, given.result_size, given.scores.classes, gather.columns});
  if (gather.columns == kGatherColumns) {
    launch(Entry{"label_confident", from, to}, LabelConfident<StoredScores<S>, R, PlainSums>(given, 0));
    return;
  }
  const CellMaps maps = cell_maps(given);
  launch(Entry{"guarded_argmax", from, nullptr}, ArgmaxOf<S, std::uint8_t, true>(winners_of(given), 0));
  const Size3& size = given.scores.size;
  launch(Entry{"shared_winner", nullptr, nullptr},
         SharedWinner{maps.winners, maps.cells, size, Span{0, size.axis[0]}});
  const LabelOblique<StoredScores<S>, R> kernel(given, 0);
  launch(Entry{"label", from, to}, kernel);
  if (gather.columns > 0)
    launch(Entry{"gather_rows", to, nullptr},
           GatherRows<R, PlainSums>{kernel.result, kernel.result_size, kernel.score_size, kernel.matrix,
                                    kernel.values, gather.table, gather.columns});
}

template <class Launch>
VOXEL_FN void launch_label_from_scores(const Label& given, Launch launch) {
  with_real(given.scores.type, [&](auto score) {
    with_label(given.label, [&](auto label) {
      launch_label_as<typename decltype(score)::type, typename decltype(label)::type>(given, launch);
    });
  });
}

// Where launch_label puts the scores it makes of features, and where they end.
VOXEL_FN float* label_scores(const Label& given, std::uintptr_t scratch, std::uintptr_t& end) {
  Carver carver = {cell_maps(scratch, given.scores.size).end};
  float* const scores = carver.take<float>(given.scores.classes * voxels(given.scores.size));
  end = carver.at;
  return scores;
}

// Features become whole scores first: each is made once, by neighbours that read neighbours, and everything
// after is what stored scores get. Making them again at every voxel that needs them would save their memory
// and cost a read of eight corners of all features each time.
template <class Launch>
VOXEL_FN void launch_label(const Label& given, Launch launch) {
  if (given.scores.features == 0) return launch_label_from_scores(given, launch);
  std::uintptr_t end;
  float* const scores = label_scores(given, reinterpret_cast<std::uintptr_t>(given.scratch), end);
  with_real(given.scores.type, [&](auto feature) {
    launch(Entry{"scores", name_of(given.scores.type), nullptr},
           ScoreVoxels<typename decltype(feature)::type>(given.scores, scores));
  });
  Label from_scores = given;
  from_scores.scores = {scores, Real::float32, given.scores.classes, given.scores.size, 0, nullptr, nullptr};
  launch_label_from_scores(from_scores, launch);
}

// Features become whole scores first, as for labels.
VOXEL_FN float* candidate_scores(const CandidateBox& given, std::uintptr_t scratch, std::uintptr_t& end) {
  Carver carver = {candidate_maps(scratch, given.scores).end};
  float* const scores = carver.take<float>(given.scores.classes * voxels(given.scores.size));
  end = carver.at;
  return scores;
}

template <class Launch>
VOXEL_FN void launch_candidate_box(const CandidateBox& given, Launch launch) {
  CandidateBox call = given;
  if (given.scores.features > 0) {
    std::uintptr_t end;
    float* const scores = candidate_scores(given, reinterpret_cast<std::uintptr_t>(given.scratch), end);
    with_real(given.scores.type, [&](auto feature) {
      launch(Entry{"scores", name_of(given.scores.type), nullptr},
             ScoreVoxels<typename decltype(feature)::type>(given.scores, scores));
    });
    call.scores = {scores, Real::float32, given.scores.classes, given.scores.size, 0, nullptr, nullptr};
  }
  with_real(call.scores.type, [&](auto score) {
    launch(Entry{"beaten", name_of(call.scores.type), nullptr},
           BeatenVoxels<typename decltype(score)::type>(call, 0));
  });
  launch(Entry{"box_clear", nullptr, nullptr}, BoxClear{call.box, call.scores.size});
  launch(Entry{"box_rows", nullptr, nullptr}, BoxRows<PlainSums>(call, 0));
}

// Afterwards *needed is the bytes of scratch that would do; with fewer than that nothing else was done.
template <class Launch>
VOXEL_FN void launch_components(const Components& given, std::int64_t scratch_size, Launch launch) {
  using Sets = PlainSets;
  const std::int64_t capacity = run_capacity(given.size, scratch_size);
  launch(Entry{"components_count", nullptr, nullptr}, CountRow<Sets>(given, capacity));
  launch(Entry{"components_sum_plane", nullptr, nullptr}, SumPlane<Sets>(given, capacity));
  launch(Entry{"components_sum_planes", nullptr, nullptr}, SumPlanes<Sets>(given, capacity));
  launch(Entry{"components_add_planes", nullptr, nullptr}, AddPlanes<Sets>(given, capacity));
  launch(Entry{"components_find", nullptr, nullptr}, FindRow<Sets>(given, capacity));
  launch(Entry{"components_join", nullptr, nullptr}, JoinRow<Sets>(given, capacity));
  launch(Entry{"components_measure", nullptr, nullptr}, MeasureRow<Sets>(given, capacity));
  launch(Entry{"components_choose", nullptr, nullptr}, ChooseRow<Sets>(given, capacity));
  launch(Entry{"components_clear", nullptr, nullptr}, ClearRow<Sets>(given, capacity));
}

VOXEL_FN std::int64_t* components_needed(const Components& given) {
  return voxel_runs(reinterpret_cast<std::uintptr_t>(given.scratch), given.size, 0).needed;
}

// Bytes of scratch that the launches of a call need.

VOXEL_FN std::int64_t launch_prepare_scratch(const Prepare& given) {
  if (!axis_map(given.matrix, given.result_size).aligned) return 0;
  return scratch_bytes(PrepareTaps(given).layout(0));
}

VOXEL_FN std::int64_t launch_histogram_scratch() {
  return scratch_bytes(Tally(Histogram{}).layout(0));
}

VOXEL_FN std::int64_t launch_components_scratch(const Size3& size, std::int64_t runs) {
  return voxel_components_bytes(size, runs);
}

VOXEL_FN std::int64_t launch_candidate_scratch(const CandidateBox& given) {
  std::uintptr_t end = candidate_maps(0, given.scores).end;
  if (given.scores.features > 0) candidate_scores(given, 0, end);
  return scratch_bytes(end);
}

VOXEL_FN std::int64_t launch_label_scratch(const Label& given) {
  std::uintptr_t end = cell_maps(0, given.scores.size).end;
  if (given.scores.features > 0) label_scores(given, 0, end);
  return scratch_bytes(end);
}

}  // namespace
}  // namespace zeus
