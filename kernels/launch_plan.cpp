#include "launch_plan.h"

#include <algorithm>
#include <type_traits>

#include "launch_shape.h"
#include "launches.h"

namespace zeus {
namespace {

std::uint32_t blocks(std::int64_t voxels, int each, std::int64_t most) {
  return std::uint32_t(std::min((voxels + each - 1) / each, most));
}

void shape(const Size3& extent, Launch& launch) {
  launch.block = {kBlockWidth, kBlockHeight, kBlockDepth};
  launch.grid = {blocks(extent.axis[2], kBlockWidth, kMostRow),
                 blocks(extent.axis[1], kBlockHeight, kMostBlocks),
                 blocks(extent.axis[0], kBlockDepth, kMostBlocks)};
}

void shape(std::int64_t extent, Launch& launch) {
  launch.block = {kBlockThreads, 1, 1};
  launch.grid = {blocks(extent, kBlockThreads, kMostRow), 1, 1};
}

template <class Kernel>
void shape_of(const Kernel& kernel, Launch& launch) {
  shape(kernel.extent(), launch);
}

template <class T>
void shape_of(const HistogramVoxels<T>& kernel, Launch& launch) {
  launch.block = {kCountThreads, 1, 1};
  launch.grid = {blocks(kernel.voxels, kCountVoxels, kMostRow), 1, 1};
}

struct Packer {
  LaunchPlan& plan;

  template <class Kernel>
  void operator()(const Entry& entry, const Kernel& kernel) const {
    static_assert(std::is_trivially_copyable_v<Kernel>, "a device gets the bytes of the struct");
    Launch launch;
    launch.entry = entry.kernel;
    for (const char* type : {entry.from, entry.to})
      if (type != nullptr) launch.entry.append("_").append(type);
    shape_of(kernel, launch);
    launch.arguments.assign(reinterpret_cast<const char*>(&kernel), sizeof kernel);
    plan.launches.push_back(std::move(launch));
  }
};

template <class Launches>
LaunchPlan packed(Launches launches) {
  LaunchPlan plan;
  launches(Packer{plan});
  return plan;
}

}  // namespace

LaunchPlan LaunchTable::prepare(const Prepare& given, int) const {
  return packed([&](auto launch) { launch_prepare(given, launch); });
}

LaunchPlan LaunchTable::histogram(const Histogram& given, int) const {
  LaunchPlan plan = packed([&](auto launch) { launch_histogram(given, launch); });
  plan.answer_at = reinterpret_cast<std::uintptr_t>(Tally(given).missing);
  return plan;
}

LaunchPlan LaunchTable::blend_add(const BlendAdd& given, int) const {
  return packed([&](auto launch) { launch_blend_add(given, launch); });
}

LaunchPlan LaunchTable::blend_normalise(const BlendNormalise& given, int) const {
  return packed([&](auto launch) { launch_blend_normalise(given, launch); });
}

LaunchPlan LaunchTable::argmax(const Argmax& given, int) const {
  return packed([&](auto launch) { launch_argmax(given, launch); });
}

LaunchPlan LaunchTable::label(const Label& given, int) const {
  return packed([&](auto launch) { launch_label(given, launch); });
}

LaunchPlan LaunchTable::candidate_box(const CandidateBox& given, int) const {
  return packed([&](auto launch) { launch_candidate_box(given, launch); });
}

LaunchPlan LaunchTable::components(const Components& given, std::int64_t scratch_size, int) const {
  LaunchPlan plan = packed([&](auto launch) { launch_components(given, scratch_size, launch); });
  plan.answer_at = reinterpret_cast<std::uintptr_t>(components_needed(given));
  return plan;
}

std::int64_t LaunchTable::prepare_scratch(const Prepare& given, int) const {
  return launch_prepare_scratch(given);
}

std::int64_t LaunchTable::histogram_scratch(int) const {
  return launch_histogram_scratch();
}

std::int64_t LaunchTable::label_scratch(const Label& given, int) const {
  return launch_label_scratch(given);
}

std::int64_t LaunchTable::candidate_scratch(const CandidateBox& given, int) const {
  return launch_candidate_scratch(given);
}

std::int64_t LaunchTable::components_scratch(const Size3& size, std::int64_t runs) const {
  return launch_components_scratch(size, runs);
}

}  // namespace zeus
