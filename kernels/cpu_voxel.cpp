// The table that makes one voxel at a time, as a CUDA device does: slow, and there to prove that form on a
// CPU.
#include "kernel_table.h"
#include "launches.h"

namespace zeus {
namespace {

template <class Kernel>
void each_voxel(const Kernel& kernel, const Size3& extent) {
  for (int i = 0; i < extent.axis[0]; ++i)
    for (int j = 0; j < extent.axis[1]; ++j)
      for (int k = 0; k < extent.axis[2]; ++k) kernel(i, j, k);
}

template <class Kernel>
void each_voxel(const Kernel& kernel, std::int64_t extent) {
  for (std::int64_t n = 0; n < extent; ++n) kernel(n);
}

struct InOrder {
  template <class Kernel>
  void operator()(const Entry&, const Kernel& kernel) const {
    each_voxel(kernel, kernel.extent());
  }
};

void prepare(const Prepare& given, int) {
  launch_prepare(given, InOrder());
}

std::uint64_t histogram(const Histogram& given, int) {
  launch_histogram(given, InOrder());
  return *Tally(given).missing;
}

void blend_add(const BlendAdd& given, int) {
  launch_blend_add(given, InOrder());
}

void blend_normalise(const BlendNormalise& given, int) {
  launch_blend_normalise(given, InOrder());
}

void argmax(const Argmax& given, int) {
  launch_argmax(given, InOrder());
}

void label(const Label& given, int) {
  launch_label(given, InOrder());
}

void candidate_box(const CandidateBox& given, int) {
  launch_candidate_box(given, InOrder());
}

// What makes files of labels has no form for one voxel: the same tasks as on every CPU.
template <class Kernel>
void each_task_as_given(const Kernel& given, int) {
  Kernel kernel = given;
  kernel.ready();
  for (std::int64_t task = 0; task < kernel.tasks(); ++task) kernel.task(task, 0);
}

std::int64_t components(const Components& given, std::int64_t scratch_size, int) {
  launch_components(given, scratch_size, InOrder());
  return *components_needed(given);
}

std::int64_t components_scratch(const Size3& size, std::int64_t runs) {
  return launch_components_scratch(size, runs);
}

std::int64_t prepare_scratch(const Prepare& given, int) {
  return launch_prepare_scratch(given);
}

std::int64_t histogram_scratch(int) {
  return launch_histogram_scratch();
}

std::int64_t candidate_scratch(const CandidateBox& given, int) {
  return launch_candidate_scratch(given);
}

std::int64_t label_scratch(const Label& given, int) {
  return launch_label_scratch(given);
}

}  // namespace

extern const KernelTable cpu_voxel = {"cpu_voxel",
                                      prepare,
                                      histogram,
                                      blend_add,
                                      blend_normalise,
                                      argmax,
                                      label,
                                      candidate_box,
                                      each_task_as_given<SliceContent>,
                                      each_task_as_given<Pack>,
                                      each_task_as_given<RunLengthSizes>,
                                      each_task_as_given<RunLength>,
                                      components,
                                      prepare_scratch,
                                      histogram_scratch,
                                      label_scratch,
                                      candidate_scratch,
                                      components_scratch};

}  // namespace zeus
