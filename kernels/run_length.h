// Label maps as the frames of DICOM's RLE Lossless: byte planes of runs and literals, row by row.
//
// Two passes, so that the caller gets away with the memory that the frames really take: RunLengthSizes finds
// the bytes of each frame, RunLength writes them. Both walk the same rows with the same code.
//
// Source: DICOM PS3.5 annex G. A frame is a header of sixteen 32-bit numbers (segments, and where each one
// starts) and one segment for each byte of a pixel, the most significant first. A segment is, row by row,
// 1 - n and one byte for a run of n, or n - 1 and n bytes as they are, n being 128 at most; it is padded with
// a 0 to an even length.
#pragma once

#include "core/runs.h"
#include "core/voxel.h"

namespace zeus {

// The arguments both passes share.
struct RunLengthSource {
  const void* labels;  // (size): slices, rows, columns; uint8 or uint16
  Size3 size;
  int pixel_bytes;  // 1 or 2
};

namespace {

constexpr std::int64_t kRunLengthHeader = 64;
constexpr int kLongestRun = 128;

// One byte of every pixel of a row, the `plane`th from the most significant.
template <class T>
struct PlaneRow {
  const T* row;
  int shift;

  VOXEL_FN std::uint8_t operator[](int k) const { return std::uint8_t(row[k] >> shift); }
  VOXEL_FN int end_of_run(int begin, int length) const {
    int k = begin + 1;
    while (k < length && (*this)[k] == (*this)[begin]) ++k;
    return k;
  }
};

template <>
VOXEL_FN int PlaneRow<std::uint8_t>::end_of_run(int begin, int length) const {
  return run_end(row, begin, length);
}

// Counts bytes.
struct RunLengthCounter {
  std::int64_t at;

  VOXEL_FN void put(std::uint8_t) { ++at; }
};

// Writes bytes up to `end` and counts on beyond, so that a wrong size is noticed and harms nothing.
struct RunLengthWriter {
  std::int64_t at, end;
  std::uint8_t* bytes;

  VOXEL_FN void put(std::uint8_t byte) {
    if (at < end) bytes[at] = byte;
    ++at;
  }
};

template <class Row, class Sink>
VOXEL_FN void put_literals(const Row& row, int begin, int end, Sink& sink) {
  while (begin < end) {
    const int count = smaller(end - begin, kLongestRun);
    sink.put(std::uint8_t(count - 1));
    for (int n = 0; n < count; ++n) sink.put(row[begin + n]);
    begin += count;
  }
}

// Runs of three and more are runs; one of two is, unless it follows literals, where it is not longer as two.
template <class Row, class Sink>
VOXEL_FN void put_row(const Row& row, int length, Sink& sink) {
  int literals = 0;  // [literals, k) wait to be written as they are
  for (int k = 0; k < length;) {
    const int end = row.end_of_run(k, length);
    while (end - k > 2 || (end - k == 2 && literals == k)) {
      put_literals(row, literals, k, sink);
      const int count = smaller(end - k, kLongestRun);
      sink.put(std::uint8_t(257 - count));
      sink.put(row[k]);
      literals = k += count;
    }
    k = end;
  }
  put_literals(row, literals, length, sink);
}

template <class T, class Sink>
VOXEL_FN void put_plane(const RunLengthSource& source, std::int64_t slice, int shift, Sink& sink) {
  const std::int64_t begin = sink.at, rows = source.size.axis[1];
  for (std::int64_t j = 0; j < rows; ++j) {
    const T* row = static_cast<const T*>(source.labels) + (slice * rows + j) * source.size.axis[2];
    put_row(PlaneRow<T>{row, shift}, source.size.axis[2], sink);
  }
  if ((sink.at - begin) % 2 != 0) sink.put(0);
}

// A segment: plane 0 is the most significant byte of each pixel.
template <class Sink>
VOXEL_FN void put_segment(const RunLengthSource& source, std::int64_t slice, int plane, Sink& sink) {
  if (source.pixel_bytes == 1)
    put_plane<std::uint8_t>(source, slice, 0, sink);
  else
    put_plane<std::uint16_t>(source, slice, 8 * (1 - plane), sink);
}

}  // namespace

struct RunLengthSizes {
  RunLengthSource source;
  std::int64_t* sizes;  // (slices) bytes of each frame

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return source.size.axis[0]; }
  VOXEL_FN void task(std::int64_t slice, int) const {
    RunLengthCounter counter = {kRunLengthHeader};
    for (int plane = 0; plane < source.pixel_bytes; ++plane) put_segment(source, slice, plane, counter);
    sizes[slice] = counter.at;
  }
};

struct RunLength {
  RunLengthSource source;
  const std::int64_t* ends;  // (slices) where each frame ends in `bytes`; the next one starts there
  std::uint8_t* bytes;
  std::int64_t* needed;  // (slices) bytes each frame needs; what does not fit is not written

  VOXEL_FN void ready() {}
  VOXEL_FN std::int64_t tasks() const { return source.size.axis[0]; }
  VOXEL_FN void task(std::int64_t slice, int) const {
    const std::int64_t begin = slice == 0 ? 0 : ends[slice - 1];
    std::int64_t starts[2] = {};
    RunLengthWriter writer = {begin + kRunLengthHeader, ends[slice], bytes};
    for (int plane = 0; plane < source.pixel_bytes; ++plane) {
      starts[plane] = writer.at - begin;
      put_segment(source, slice, plane, writer);
    }
    needed[slice] = writer.at - begin;
    writer.at = begin;
    put_number(source.pixel_bytes, writer);
    for (int n = 0; n < 15; ++n) put_number(n < source.pixel_bytes ? starts[n] : 0, writer);
  }

 private:
  static VOXEL_FN void put_number(std::int64_t number, RunLengthWriter& writer) {
    for (int shift = 0; shift < 32; shift += 8) writer.put(std::uint8_t(number >> shift));
  }
};

}  // namespace zeus
