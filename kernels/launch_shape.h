// How voxels are spread over the threads of a CUDA launch; what cuda.cu reads and launch_plan.cpp packs.
//
// Neighbours along the contiguous axis go to neighbouring threads, so a warp reads and writes whole sectors.
// A block is also a few voxels deep along the other axes: where a scan lies transposed in memory, they share
// its cache lines. No number here was tuned on a device.
#pragma once

#include "core/voxel.h"

namespace zeus {
namespace {

constexpr int kBlockWidth = 32, kBlockHeight = 4, kBlockDepth = 2;  // threads along k, j, i
constexpr int kBlockThreads = kBlockWidth * kBlockHeight * kBlockDepth;
constexpr int kMostBlocks = 65535;  // along y and z; threads go on from there in strides

constexpr int kCountThreads = 512;          // of a block of the histogram
constexpr int kCountVoxels = 1 << 17;       // that one block counts
constexpr std::int64_t kMostRow = 1 << 30;  // blocks along x that a plan asks for

}  // namespace
}  // namespace zeus
