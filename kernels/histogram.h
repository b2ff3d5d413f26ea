// How often each stored value occurs.
//
// Types of up to 16 bits: bin = value - smallest value of the type, exact. int32 and float32: the top 16 bits
// of the float's bits made order-preserving, so a bin is 2^-8 to 2^-7 of its value wide; NaN and infinity are
// only counted together.
#pragma once

#include "core/scratch.h"
#include "core/voxel.h"

namespace zeus {

struct Histogram {
  static constexpr int kBins = 65536;

  const void* source;
  Stored source_type;
  std::int64_t voxels;
  std::uint64_t* counts;  // kBins
  void* scratch;          // of histogram_scratch_bytes()
};

namespace {

VOXEL_FN std::uint32_t bin_of(std::int8_t v) {
  return std::uint32_t(v + 128);
}
VOXEL_FN std::uint32_t bin_of(std::uint8_t v) {
  return v;
}
VOXEL_FN std::uint32_t bin_of(std::int16_t v) {
  return std::uint32_t(v + 32768);
}
VOXEL_FN std::uint32_t bin_of(std::uint16_t v) {
  return v;
}
VOXEL_FN std::uint32_t bin_of(float v) {
  const std::uint32_t bits = bits_of(v);
  return (bits >> 31 ? ~bits : bits | 0x80000000u) >> 16;
}
VOXEL_FN std::uint32_t bin_of(std::int32_t v) {
  return bin_of(float(v));
}

template <class T>
VOXEL_FN bool is_countable(T) {
  return true;
}
VOXEL_FN bool is_countable(float v) {
  return (bits_of(v) & 0x7f800000u) != 0x7f800000u;
}

template <class T>
struct HistogramOf {
  static constexpr int kBins = Histogram::kBins,
                       kTables = 2;  // two tables: a run of one value does not wait for itself
  static constexpr std::int64_t kLaneCounts = kTables * kBins + 8;

  const T* source;
  std::int64_t voxels;
  std::uint64_t* counts;
  std::uint64_t* lanes;  // kTables tables and the uncountable of every part
  int parts;

  VOXEL_FN HistogramOf(const Histogram& given, int threads)
      : source(static_cast<const T*>(given.source)),
        voxels(given.voxels),
        counts(given.counts),
        parts(threads) {
    layout(reinterpret_cast<std::uintptr_t>(given.scratch), threads);
  }

  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch, int threads) {
    Carver carver = {scratch};
    lanes = carver.take<std::uint64_t>(kLaneCounts * threads);
    return carver.at;
  }

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return parts; }

  VOXEL_FN void task(std::int64_t part, int) const {
    std::uint64_t* const even = lanes + part * kLaneCounts;
    std::uint64_t* const odd = even + kBins;
    for (std::int64_t n = 0; n < kLaneCounts; ++n) even[n] = 0;
    std::uint64_t missing = 0;
    const std::int64_t begin = voxels / parts * part,
                       end = part + 1 == parts ? voxels : begin + voxels / parts;
    std::int64_t n = begin;
    for (; n + 1 < end; n += 2) {
      missing += count(source[n], even) + count(source[n + 1], odd);
    }
    if (n < end) missing += count(source[n], even);
    even[kTables * kBins] = missing;
  }

  // Adds the parts up and returns how many voxels were not finite.
  VOXEL_FN std::uint64_t merge() const {
    std::uint64_t missing = 0;
    for (int bin = 0; bin < kBins; ++bin) counts[bin] = 0;
    for (int part = 0; part < parts; ++part) {
      const std::uint64_t* table = lanes + part * kLaneCounts;
      for (int bin = 0; bin < kBins; ++bin) counts[bin] += table[bin] + table[kBins + bin];
      missing += table[kTables * kBins];
    }
    return missing;
  }

 private:
  static VOXEL_FN std::uint64_t count(T voxel, std::uint64_t* table) {
    const bool countable = is_countable(voxel);
    table[bin_of(voxel)] += countable;
    return !countable;
  }
};

// Where the voxels of each bin are counted; past the last bin, those that are not finite.
struct Tally {
  static constexpr std::uint32_t kMissing = Histogram::kBins;

  std::uint64_t* counts;   // Histogram::kBins
  std::uint64_t* missing;  // one, in the scratch

  VOXEL_FN explicit Tally(const Histogram& given) : counts(given.counts) {
    layout(reinterpret_cast<std::uintptr_t>(given.scratch));
  }

  VOXEL_FN std::uintptr_t layout(std::uintptr_t scratch) {
    Carver carver = {scratch};
    missing = carver.take<std::uint64_t>(1);
    return carver.at;
  }

  VOXEL_FN std::uint64_t* of(std::uint32_t bin) const { return bin == kMissing ? missing : counts + bin; }
};

// The first launch of a histogram by single voxels.
struct HistogramClear {
  Tally tally;

  VOXEL_FN std::int64_t extent() const { return std::int64_t(Tally::kMissing) + 1; }
  VOXEL_FN void operator()(std::int64_t bin) const { *tally.of(std::uint32_t(bin)) = 0; }
};

// The second: all voxels share one tally.
template <class T>
struct HistogramVoxels {
  const T* source;
  std::int64_t voxels;
  Tally tally;

  VOXEL_FN explicit HistogramVoxels(const Histogram& given)
      : source(static_cast<const T*>(given.source)), voxels(given.voxels), tally(given) {}

  VOXEL_FN std::int64_t extent() const { return voxels; }
  VOXEL_FN std::uint32_t bin(std::int64_t voxel) const {
    return is_countable(source[voxel]) ? bin_of(source[voxel]) : Tally::kMissing;
  }

  // For one thread; several add to the same tally with atomics.
  VOXEL_FN void operator()(std::int64_t voxel) const { ++*tally.of(bin(voxel)); }
};

}  // namespace
}  // namespace zeus
