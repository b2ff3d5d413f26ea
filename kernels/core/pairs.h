// Linear interpolation along a row: gathers fetch neighbours one by one, these fetch both at once.
#pragma once

#include "core/voxel.h"

#if defined(__AVX__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

namespace zeus {
namespace {

#if defined(__AVX__) && !defined(__CUDACC__)
VOXEL_FN double pair_at(const float* at) {  // as one value that is only moved
  double pair;
  __builtin_memcpy(&pair, at, sizeof pair);
  return pair;
}
#endif

// row[n] = low[n] * from[start[n]] + high[n] * from[start[n] + 1] for first <= n < last.
VOXEL_FN void mix_pairs(const float* from, const std::int32_t* start, const float* low, const float* high,
                        int first, int last, float* __restrict row) {
  int n = first;
#if defined(__AVX__) && !defined(__CUDACC__)
  for (; n + 8 <= last; n += 8) {
    double pair[8];
    for (int m = 0; m < 8; ++m) pair[m] = pair_at(from + start[n + m]);
    const __m256 outer = _mm256_castpd_ps(_mm256_set_pd(pair[5], pair[4], pair[1], pair[0]));
    const __m256 inner = _mm256_castpd_ps(_mm256_set_pd(pair[7], pair[6], pair[3], pair[2]));
    const __m256 lows = _mm256_mul_ps(_mm256_loadu_ps(low + n), _mm256_shuffle_ps(outer, inner, 0x88));
    const __m256 highs = _mm256_mul_ps(_mm256_loadu_ps(high + n), _mm256_shuffle_ps(outer, inner, 0xdd));
    _mm256_storeu_ps(row + n, _mm256_add_ps(lows, highs));
  }
#endif
  for (; n < last; ++n) {
    const float term = low[n] * from[start[n]];
    row[n] = term + high[n] * from[start[n] + 1];
  }
}

}  // namespace
}  // namespace zeus
