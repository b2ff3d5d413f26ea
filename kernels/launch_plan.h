// A call packed for a CUDA device: the launches of launches.h as plain data, without any CUDA.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kernel_table.h"

namespace zeus {

struct Launch {
  std::string entry;                   // name of the entry point in cuda.cu
  std::array<std::uint32_t, 3> grid;   // blocks along x, y, z
  std::array<std::uint32_t, 3> block;  // threads along x, y, z
  std::string arguments;               // bytes of the one argument, the kernel's struct
};

struct LaunchPlan {
  std::vector<Launch> launches;  // each waits for the one before
  std::uintptr_t answer_at = 0;  // device address of the uint64 that the call returns, if it returns one
};

// The interface of KernelTable, with plans where that has work: nothing runs, no array is read.
struct LaunchTable {
  int device;  // where all arrays must lie

  LaunchPlan prepare(const Prepare& given, int threads) const;
  LaunchPlan histogram(const Histogram& given, int threads) const;
  LaunchPlan blend_add(const BlendAdd& given, int threads) const;
  LaunchPlan blend_normalise(const BlendNormalise& given, int threads) const;
  LaunchPlan argmax(const Argmax& given, int threads) const;
  LaunchPlan label(const Label& given, int threads) const;
  LaunchPlan candidate_box(const CandidateBox& given, int threads) const;
  LaunchPlan components(const Components& given, std::int64_t scratch_size, int threads) const;

  std::int64_t prepare_scratch(const Prepare& given, int threads) const;
  std::int64_t histogram_scratch(int threads) const;
  std::int64_t label_scratch(const Label& given, int threads) const;
  std::int64_t candidate_scratch(const CandidateBox& given, int threads) const;
  std::int64_t components_scratch(const Size3& size, std::int64_t runs) const;
};

}  // namespace zeus
