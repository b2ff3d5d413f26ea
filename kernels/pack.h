// Label maps as the 1-bit frames of a DICOM Segmentation, and what is known about each slice beforehand.
//
// A frame is one slice of one structure; the first pixel is the lowest bit of the first byte and frames
// follow each other without padding. Rows a structure does not reach are never read.
#pragma once

#include "core/runs.h"
#include "core/voxel.h"

namespace zeus {

// How often each label occurs in each slice, and which rows it reaches.
struct SliceContent {
  const std::uint8_t* labels;  // (size): slices, rows, columns
  Size3 size;
  std::int64_t* counts;                // (slices, 256) voxels
  std::int32_t *first_row, *last_row;  // (slices, 256) [first, last); equal where there is no voxel

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return size.axis[0]; }
  VOXEL_FN void task(std::int64_t slice, int) const {
    const std::int64_t at = slice * 256;
    for (int label = 0; label < 256; ++label)
      counts[at + label] = first_row[at + label] = last_row[at + label] = 0;
    for (int j = 0; j < size.axis[1]; ++j) {
      const std::uint8_t* const row = labels + (slice * size.axis[1] + j) * size.axis[2];
      for (int k = 0; k < size.axis[2];) {
        const int end = run_end(row, k, size.axis[2]);
        const std::int64_t label = at + row[k];
        if (counts[label] == 0) first_row[label] = j;
        last_row[label] = j + 1;
        counts[label] += end - k;
        k = end;
      }
    }
  }
};

// One frame: a slice and a row of `tables`.
struct Frame {
  std::int32_t slice, table;
};

struct Pack {
  const std::uint8_t* labels;  // (size): slices, rows, columns
  Size3 size;
  const std::int32_t *first_row, *last_row;  // of SliceContent
  const std::uint8_t* tables;                // (.., 256) 1: the label belongs to the structure, else 0
  const Frame* frames;
  std::int64_t count;  // of frames
  std::uint8_t* bits;  // (count * rows * columns bits, rounded up to bytes)

  VOXEL_FN void ready() {}

  // Eight frames always end on a whole byte.
  VOXEL_FN std::int64_t tasks() const { return (count + 7) / 8; }
  VOXEL_FN void task(std::int64_t task, int) const {
    const std::int64_t pixels = std::int64_t(size.axis[1]) * size.axis[2];
    const std::int64_t first = task * 8, last = smaller(first + 8, count);
    __builtin_memset(bits + task * pixels, 0, std::size_t(((last - first) * pixels + 7) / 8));
    for (std::int64_t n = first; n < last; ++n) frame(frames[n], n * pixels);
  }

 private:
  VOXEL_FN void frame(const Frame& frame, std::int64_t bit) const {
    const std::uint8_t* const table = tables + std::int64_t(frame.table) * 256;
    const std::int64_t slice = std::int64_t(frame.slice) * 256;
    int begin = size.axis[1], end = 0, members = 0, only = 0;
    for (int label = 0; label < 256; ++label) {
      if (table[label] == 0 || first_row[slice + label] == last_row[slice + label]) continue;
      begin = smaller(begin, int(first_row[slice + label]));
      end = larger(end, int(last_row[slice + label]));
      only = label;
      ++members;
    }
    if (members == 0) return;
    const std::int64_t skipped = std::int64_t(begin) * size.axis[2],
                       pixels = std::int64_t(end - begin) * size.axis[2];
    const std::uint8_t* const from =
        labels + std::int64_t(frame.slice) * size.axis[1] * size.axis[2] + skipped;
    if (members == 1)
      pack(
          from, pixels, bit + skipped, [only](const std::uint8_t* p) { return equal_bits(p, only); },
          [only](std::uint8_t label) { return label == only; });
    else
      pack(
          from, pixels, bit + skipped, [table](const std::uint8_t* p) { return table_bits(p, table); },
          [table](std::uint8_t label) { return table[label] != 0; });
  }

  // `eight` makes a byte of eight pixels, `one` tells about one.
  template <class Eight, class One>
  VOXEL_FN void pack(const std::uint8_t* from, std::int64_t pixels, std::int64_t bit, Eight eight,
                     One one) const {
    std::int64_t n = 0;
    for (; n < pixels && (bit + n) % 8 != 0; ++n) put(bit + n, one(from[n]));
    std::uint8_t* to = bits + (bit + n) / 8;
    for (; n + 8 <= pixels; n += 8) *to++ = eight(from + n);
    for (; n < pixels; ++n) put(bit + n, one(from[n]));
  }

  VOXEL_FN void put(std::int64_t bit, bool set) const {
    bits[bit / 8] = std::uint8_t(bits[bit / 8] | unsigned(set) << bit % 8);
  }

  // Bytes that equal `label` become 1 bits; no carry crosses a byte.
  static VOXEL_FN std::uint8_t equal_bits(const std::uint8_t* p, int label) {
    constexpr std::uint64_t low = 0x7f7f7f7f7f7f7f7full;
    std::uint64_t x;
    __builtin_memcpy(&x, p, sizeof x);
    x ^= std::uint64_t(label) * 0x0101010101010101ull;
    const std::uint64_t zero = ~(((x & low) + low) | x | low) >> 7;
    return std::uint8_t((zero * 0x0102040810204080ull) >> 56);
  }

  static VOXEL_FN std::uint8_t table_bits(const std::uint8_t* p, const std::uint8_t* table) {
    unsigned byte = 0;
    for (int n = 0; n < 8; ++n) byte |= unsigned(table[p[n]]) << n;
    return std::uint8_t(byte);
  }
};

}  // namespace zeus
