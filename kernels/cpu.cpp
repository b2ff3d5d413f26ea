// The CPU table. Built once per target with different -m flags; ZEUS_TARGET names the build.
#include "candidates_tasks.h"
#include "components_tasks.h"
#include "core/tasks.h"
#include "core/types.h"
#include "gather_lanes.h"
#include "kernel_table.h"
#include "label_aligned.h"
#include "label_confident.h"
#include "label_oblique.h"
#include "prepare_aligned.h"
#include "prepare_oblique.h"
#include "product_cache.h"

namespace zeus {
namespace {

template <class Kernel>
void run(Kernel& kernel, int threads) {
  kernel.ready();
  run_tasks(
      kernel.tasks(), threads,
      [](const void* context, std::int64_t task, int lane) {
        const Kernel copy = *static_cast<const Kernel*>(context);
        copy.task(task, lane);
      },
      &kernel);
}

// A kernel that is its own arguments.
template <class Kernel>
void run_as_given(const Kernel& given, int threads) {
  Kernel kernel = given;
  run(kernel, threads);
}

void prepare(const Prepare& given, int threads) {
  const bool aligned = axis_map(given.matrix, given.result_size).aligned;
  with_stored(given.source_type, [&](auto source) {
    with_real(given.result_type, [&](auto result) {
      using T = typename decltype(source)::type;
      using R = typename decltype(result)::type;
      if (aligned) {
        PrepareAligned<T, R> kernel(given, threads);
        run(kernel, threads);
      } else {
        PrepareOblique<T, R> kernel(given, threads);
        run(kernel, threads);
      }
    });
  });
}

std::int64_t prepare_scratch(const Prepare& given, int threads) {
  if (!axis_map(given.matrix, given.result_size).aligned) return 0;
  PrepareAligned<float, float> kernel(given, threads);
  return scratch_bytes(kernel.layout(0, threads));
}

std::uint64_t histogram(const Histogram& given, int threads) {
  return with_stored(given.source_type, [&](auto source) {
    HistogramOf<typename decltype(source)::type> kernel(given, threads);
    run(kernel, threads);
    return kernel.merge();
  });
}

std::int64_t histogram_scratch(int threads) {
  HistogramOf<float> kernel({}, threads);
  return scratch_bytes(kernel.layout(0, threads));
}

void argmax(const Argmax& given, int threads) {
  with_real(given.type, [&](auto score) {
    with_label(given.label, [&](auto label) {
      ArgmaxOf<typename decltype(score)::type, typename decltype(label)::type, false> kernel(given, threads);
      run(kernel, threads);
    });
  });
}

template <class Kernel, class R>
void run_gathering(const Label& given, int threads) {
  Gathering<Kernel, R> kernel(given, threads);
  run(kernel, threads);
  kernel.lanes.merge();
}

template <class Kernel, class R>
void run_label(const Label& given, int threads) {
  if (given.gather.columns > 0) return run_gathering<Kernel, R>(given, threads);
  Kernel kernel(given, threads);
  run(kernel, threads);
}

// What is left once every score voxel has its winner.
template <class Source, class R>
void label_cells(const Label& given, int threads) {
  const CellMaps maps = cell_maps(given);
  const bool made = given.scores.features > 0;
  const Span planes = made ? score_planes(given) : Span{0, given.scores.size.axis[0]};
  SharedWinner cells = {maps.winners, maps.cells, given.scores.size, planes};
  run(cells, threads);
  if (axis_map(given.matrix, given.result_size).aligned)
    run_label<LabelAligned<Source, R>, R>(given, threads);
  else
    run_label<LabelOblique<Source, R>, R>(given, threads);
}

template <class S, class R>
void label_as(const Label& given, int threads) {
  const bool made = given.scores.features > 0;
  if (given.gather.columns == kGatherColumns) {
    if (made)
      run_gathering<LabelConfident<CachedProducts<S>, R, PlainSums>, R>(given, threads);
    else
      run_gathering<LabelConfident<StoredScores<S>, R, PlainSums>, R>(given, threads);
  } else if (made) {
    ProductWinners<S> winners(given, threads);
    run(winners, threads);
    label_cells<CachedProducts<S>, R>(given, threads);
  } else {
    ArgmaxOf<S, std::uint8_t, true> winners(winners_of(given), threads);
    run(winners, threads);
    label_cells<StoredScores<S>, R>(given, threads);
  }
}

void label(const Label& given, int threads) {
  with_real(given.scores.type, [&](auto stored) {
    with_label(given.label, [&](auto label) {
      label_as<typename decltype(stored)::type, typename decltype(label)::type>(given, threads);
    });
  });
}

template <class Kernel>
std::int64_t gathering_bytes(const Label& given, int threads) {
  return scratch_bytes(Gathering<Kernel, std::uint8_t>(given, threads).layout(0, threads));
}

// Enough to gather, whether or not that is asked for: only what is touched takes memory.
template <class Source>
std::int64_t label_scratch_from(const Label& given, int threads) {
  using R = std::uint8_t;
  const bool aligned = axis_map(given.matrix, given.result_size).aligned;
  const std::int64_t cells = aligned ? gathering_bytes<LabelAligned<Source, R>>(given, threads)
                                     : gathering_bytes<LabelOblique<Source, R>>(given, threads);
  return larger(cells, gathering_bytes<LabelConfident<Source, R, PlainSums>>(given, threads));
}

std::int64_t label_scratch(const Label& given, int threads) {
  if (given.scores.features == 0) return label_scratch_from<StoredScores<float>>(given, threads);
  return larger(label_scratch_from<CachedProducts<float>>(given, threads),
                scratch_bytes(ProductWinners<float>(given, threads).layout(0, threads)));
}

void candidate_box(const CandidateBox& given, int threads) {
  with_real(given.scores.type, [&](auto stored) {
    using S = typename decltype(stored)::type;
    if (given.scores.features > 0) {
      BeatenProducts<S> kernel(given, threads);
      run(kernel, threads);
    } else {
      BeatenVoxels<S> kernel(given, threads);
      run(kernel, threads);
    }
  });
  BoxLanes lanes(given, threads);
  run(lanes, threads);
  lanes.merge();
}

std::int64_t candidate_scratch(const CandidateBox& given, int threads) {
  BeatenProducts<float> kernel(given, threads);
  BoxLanes boxes(given, threads);
  const std::uintptr_t maps = candidate_maps(0, given.scores).end;
  return larger(scratch_bytes(kernel.layout(0, threads)), scratch_bytes(boxes.layout(maps, threads)));
}

std::int64_t components(const Components& given, std::int64_t scratch_size, int threads) {
  return run_components(given, scratch_size, [&](auto& kernel) { run(kernel, threads); });
}

std::int64_t components_scratch(const Size3& size, std::int64_t runs) {
  return components_bytes(size, runs);
}

}  // namespace

#define ZEUS_TEXT(x) ZEUS_TEXT_(x)
#define ZEUS_TEXT_(x) #x
extern const KernelTable ZEUS_TARGET = {
    ZEUS_TEXT(ZEUS_TARGET),
    prepare,
    histogram,
    run_as_given<BlendAdd>,
    run_as_given<BlendNormalise>,
    argmax,
    label,
    candidate_box,
    run_as_given<SliceContent>,
    run_as_given<Pack>,
    run_as_given<RunLengthSizes>,
    run_as_given<RunLength>,
    components,
    prepare_scratch,
    histogram_scratch,
    label_scratch,
    candidate_scratch,
    components_scratch,
};

}  // namespace zeus
