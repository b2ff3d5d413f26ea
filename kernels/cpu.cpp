// The CPU table. Built once per target with different -m flags; ZEUS_TARGET names the build.
#include "core/tasks.h"
#include "kernel_table.h"
#include "label_aligned.h"
#include "label_oblique.h"
#include "prepare_aligned.h"
#include "prepare_oblique.h"

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

template <class T>
struct Type {
  using type = T;
};

template <class Call>
VOXEL_FN auto with_stored(Stored type, Call call) {
  switch (type) {
    case Stored::int8:
      return call(Type<std::int8_t>());
    case Stored::uint8:
      return call(Type<std::uint8_t>());
    case Stored::int16:
      return call(Type<std::int16_t>());
    case Stored::uint16:
      return call(Type<std::uint16_t>());
    case Stored::int32:
      return call(Type<std::int32_t>());
    default:
      return call(Type<float>());
  }
}

template <class Call>
VOXEL_FN auto with_real(Real type, Call call) {
  return type == Real::float16 ? call(Type<Half>()) : call(Type<float>());
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

void blend_add(const BlendAdd& given, int threads) {
  BlendAdd kernel = given;
  run(kernel, threads);
}

void blend_normalise(const BlendNormalise& given, int threads) {
  BlendNormalise kernel = given;
  run(kernel, threads);
}

void argmax(const Argmax& given, int threads) {
  with_real(given.type, [&](auto score) {
    ArgmaxOf<typename decltype(score)::type, false> kernel(given, threads);
    run(kernel, threads);
  });
}

void label(const Label& given, int threads) {
  const CellMaps maps = cell_maps(reinterpret_cast<std::uintptr_t>(given.scratch), given.score_size);
  with_real(given.type, [&](auto score) {
    using S = typename decltype(score)::type;
    ArgmaxOf<S, true> winners(
        {given.scores, given.type, given.classes, voxels(given.score_size), nullptr, maps.winners}, threads);
    run(winners, threads);
    SharedWinner cells = {maps.winners, maps.cells, given.score_size};
    run(cells, threads);
    if (axis_map(given.matrix, given.result_size).aligned) {
      LabelAligned<S> kernel(given, threads);
      run(kernel, threads);
    } else {
      LabelOblique<S> kernel(given, threads);
      run(kernel, threads);
    }
  });
}

std::int64_t label_scratch(const Label& given) {
  if (!axis_map(given.matrix, given.result_size).aligned)
    return scratch_bytes(cell_maps(0, given.score_size).end);
  LabelAligned<float> kernel(given, 1);
  return scratch_bytes(kernel.layout(0));
}

void slice_content(const SliceContent& given, int threads) {
  SliceContent kernel = given;
  run(kernel, threads);
}

void pack(const Pack& given, int threads) {
  Pack kernel = given;
  run(kernel, threads);
}

std::int64_t components_scratch(const Size3& size, std::int64_t runs) {
  return scratch_bytes(runs_in(0, size, runs).scratch_end);
}

std::int64_t components(const Components& given, std::int64_t scratch_size, int threads) {
  const std::uintptr_t scratch = reinterpret_cast<std::uintptr_t>(given.scratch);
  CountRuns counted = {given, runs_in(scratch, given.size, 0)};
  run(counted, threads);
  const std::int64_t count = counted.sum(), needed = components_scratch(given.size, count);
  if (needed > scratch_size) return needed;
  const Runs runs = runs_in(scratch, given.size, count);
  JoinRuns joined = {given, runs};
  run(joined, threads);
  joined.join_slabs();
  ClearRuns cleared = {given, runs, count};
  cleared.choose();
  run(cleared, threads);
  return needed;
}

}  // namespace

#define ZEUS_TEXT(x) ZEUS_TEXT_(x)
#define ZEUS_TEXT_(x) #x
extern const KernelTable ZEUS_TARGET = {
    ZEUS_TEXT(ZEUS_TARGET),
    prepare,
    histogram,
    blend_add,
    blend_normalise,
    argmax,
    label,
    slice_content,
    pack,
    components,
    prepare_scratch,
    histogram_scratch,
    label_scratch,
    components_scratch,
};

}  // namespace zeus
