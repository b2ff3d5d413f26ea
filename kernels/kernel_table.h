// Every kernel, built for one target. The caller picks a table once and passes it along.
#pragma once

#include "argmax.h"
#include "blend.h"
#include "histogram.h"
#include "label.h"
#include "prepare.h"

namespace zeus {

struct KernelTable {
  const char* name;
  void (*prepare)(const Prepare&, int threads);
  std::uint64_t (*histogram)(const Histogram&, int threads);  // returns how many voxels are not finite
  void (*blend_add)(const BlendAdd&, int threads);
  void (*blend_normalise)(const BlendNormalise&, int threads);
  void (*argmax)(const Argmax&, int threads);
  void (*label)(const Label&, int threads);

  // Bytes of scratch that a call needs; only sizes, matrix and samples are read.
  std::int64_t (*prepare_scratch)(const Prepare&, int threads);
  std::int64_t (*histogram_scratch)(int threads);
  std::int64_t (*label_scratch)(const Label&);
};

extern const KernelTable cpu_baseline, cpu_avx2, cpu_voxel;  // a build has some of these

}  // namespace zeus
