// Whole rows of 16-bit floats to and from float; for halves F16C where the target has it, the same bits
// without.
#pragma once

#include "core/voxel.h"

#if defined(__F16C__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

namespace zeus {
namespace {

VOXEL_FN void load_row(const float* row, int count, float* values) {
  for (int n = 0; n < count; ++n) values[n] = row[n];
}

VOXEL_FN void load_row(const Half* row, int count, float* values) {
  int n = 0;
#if defined(__F16C__) && !defined(__CUDACC__)
  for (; n + 8 <= count; n += 8)
    _mm256_storeu_ps(values + n, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + n))));
#endif
  for (; n < count; ++n) values[n] = real_value(row[n]);
}

VOXEL_FN void load_row(const Bfloat16* row, int count, float* values) {
  for (int n = 0; n < count; ++n) values[n] = real_value(row[n]);
}

VOXEL_FN void store_row(const float* values, int count, float* row) {
  for (int n = 0; n < count; ++n) row[n] = values[n];
}

VOXEL_FN void store_row(const float* values, int count, Half* row) {
  int n = 0;
#if defined(__F16C__) && !defined(__CUDACC__)
  for (; n + 8 <= count; n += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(row + n),
                     _mm256_cvtps_ph(_mm256_loadu_ps(values + n), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; n < count; ++n) store_real(values[n], row[n]);
}

VOXEL_FN void store_row(const float* values, int count, Bfloat16* row) {
  for (int n = 0; n < count; ++n) store_real(values[n], row[n]);
}

}  // namespace
}  // namespace zeus
