// Every kernel, built for one target. The caller picks a table once and passes it along.
#pragma once

#include "argmax.h"
#include "blend.h"
#include "candidates.h"
#include "components.h"
#include "histogram.h"
#include "label.h"
#include "pack.h"
#include "prepare.h"
#include "run_length.h"

namespace zeus {

struct KernelTable {
  const char* name;
  void (*prepare)(const Prepare&, int threads);
  std::uint64_t (*histogram)(const Histogram&, int threads);  // returns how many voxels are not finite
  void (*blend_add)(const BlendAdd&, int threads);
  void (*blend_normalise)(const BlendNormalise&, int threads);
  void (*argmax)(const Argmax&, int threads);
  void (*label)(const Label&, int threads);
  void (*candidate_box)(const CandidateBox&, int threads);
  void (*slice_content)(const SliceContent&, int threads);
  void (*pack)(const Pack&, int threads);
  void (*run_length_sizes)(const RunLengthSizes&, int threads);
  void (*run_length)(const RunLength&, int threads);
  // Returns the bytes of scratch it needs; where `scratch_size` is less, nothing else was done.
  std::int64_t (*components)(const Components&, std::int64_t scratch_size, int threads);

  // Bytes of scratch that a call needs; only sizes, matrix and samples are read.
  std::int64_t (*prepare_scratch)(const Prepare&, int threads);
  std::int64_t (*histogram_scratch)(int threads);
  std::int64_t (*label_scratch)(const Label&, int threads);
  std::int64_t (*candidate_scratch)(const CandidateBox&, int threads);
  std::int64_t (*components_scratch)(const Size3&, std::int64_t runs);
};

extern const KernelTable cpu_baseline, cpu_avx2, cpu_avx512, cpu_voxel;  // a build has some of these

}  // namespace zeus
