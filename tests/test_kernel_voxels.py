"""The one-voxel form of every kernel, which a GPU launch would run, makes the same bits as the CPU's rows."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PROGRAM = r"""
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
#include "label_aligned.h"
#include "label_oblique.h"
#include "blend.h"
#include "prepare_aligned.h"
#include "prepare_oblique.h"
using namespace zeus;

static unsigned state = 1;
static float noise() {
  state = state * 1664525u + 1013904223u;
  return float(state >> 8) / 16777216.0f - 0.5f;
}
static int failures = 0;

template <class Kernel> void tasks(Kernel& kernel) {
  kernel.ready();
  for (std::int64_t n = 0; n < kernel.tasks(); ++n) kernel.task(n, 0);
}
template <class Kernel> void voxels_of(const Kernel& kernel) {
  const Size3 size = kernel.extent();
  for (int i = 0; i < size.axis[0]; ++i)
    for (int j = 0; j < size.axis[1]; ++j)
      for (int k = 0; k < size.axis[2]; ++k) kernel(i, j, k);
}
template <class V> void expect_equal(const V& a, const V& b, const char* what) {
  if (std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0) return;
  std::printf("%s differs\n", what);
  ++failures;
}

const Matrix34 maps[] = {{{{0.7, 0, 0, -1}, {0, 1.3, 0, 0.2}, {0, 0, 0.45, 0.1}}},
                         {{{0, 0, 0.7, -1}, {-1.3, 0, 0, 9}, {0, 0.45, 0, 0.1}}},
                         {{{0, -0.7, 0, 8}, {0, 0, 0.6, 0.3}, {0.9, 0, 0, 0}}},
                         {{{0.7, 0.1, 0, -1}, {0.2, 1.3, 0, 0.2}, {0, 0.3, 0.45, 0.1}}}};
const Size3 from = {{9, 10, 12}}, to = {{11, 20, 19}};

template <class Kernel, class R> void check_prepare(Prepare call, const char* what) {
  std::vector<R> rows(voxels(to)), single(voxels(to));
  std::vector<char> scratch(1 << 20);
  call.scratch = scratch.data();
  call.result = rows.data();
  Kernel by_rows(call, 1);
  tasks(by_rows);
  call.result = single.data();
  Kernel by_voxel(call, 1);
  by_voxel.ready();
  voxels_of(by_voxel);
  expect_equal(rows, single, what);
}

template <class S> void check_label(const Matrix34& matrix) {
  const int classes = 5;
  std::vector<S> scores(classes * voxels(from));
  for (S& s : scores) store_real(noise(), s);
  const std::uint8_t values[classes] = {0, 3, 1, 4, 2};
  std::vector<std::uint8_t> guard(voxels(from)), guard_single(voxels(from)), cells_single(voxels(from));
  std::vector<std::uint8_t> rows(voxels(to)), single(voxels(to));
  std::vector<char> scratch(1 << 20);
  Label call = {scores.data(), {}, classes, from, rows.data(), to, matrix, values, 77, scratch.data()};
  const CellMaps made = cell_maps(reinterpret_cast<std::uintptr_t>(scratch.data()), from);

  ArgmaxOf<S, true> winners({scores.data(), {}, classes, voxels(from), nullptr, made.winners}, 1);
  tasks(winners);
  ArgmaxOf<S, true> one({scores.data(), {}, classes, voxels(from), nullptr, guard_single.data()}, 1);
  for (std::int64_t n = 0; n < voxels(from); ++n) one(n);
  guard.assign(made.winners, made.winners + voxels(from));
  expect_equal(guard, guard_single, "argmax");

  SharedWinner cells = {made.winners, made.cells, from};
  tasks(cells);
  voxels_of(SharedWinner{made.winners, cells_single.data(), from});
  guard.assign(made.cells, made.cells + voxels(from));
  expect_equal(guard, cells_single, "cells");

  if (axis_map(matrix, to).aligned) {
    LabelAligned<S> kernel(call, 1);
    tasks(kernel);
  } else {
    LabelOblique<S> kernel(call, 1);
    tasks(kernel);
  }
  call.result = single.data();
  voxels_of(LabelOblique<S>(call, 1));
  expect_equal(rows, single, "label");
}

void check_blend() {
  const Size3 tile = {{3, 4, 5}}, whole = {{6, 7, 9}};
  std::vector<float> scores(2 * 60), weight(60), sum(2 * 378), weights(378);
  for (auto* v : {&scores, &weight, &sum, &weights}) for (float& x : *v) x = noise();
  for (int n = 0; n < 50; ++n) weights[n * 7] = 0;
  auto sum_single = sum, weights_single = weights;
  BlendAdd add = {scores.data(), weight.data(), sum.data(), weights.data(), 2, tile, whole, {{2, 1, 4}}};
  tasks(add);
  add.sum = sum_single.data();
  add.weight_sum = weights_single.data();
  for (int plane = 0; plane < 9; ++plane)
    for (int j = 0; j < 4; ++j)
      for (int k = 0; k < 5; ++k) add(plane, j, k);
  expect_equal(sum, sum_single, "blend_add");
  expect_equal(weights, weights_single, "blend_add weight");
  BlendNormalise divide = {sum.data(), weights.data(), 2, 378};
  tasks(divide);
  divide.sum = sum_single.data();
  for (int c = 0; c < 2; ++c)
    for (int n = 0; n < 378; ++n) divide(c, n);
  expect_equal(sum, sum_single, "blend_normalise");
}

int main() {
  std::vector<std::int16_t> source(voxels(from));
  for (auto& v : source) v = std::int16_t(noise() * 2000);
  for (const Matrix34& matrix : maps) {
    for (int n : {1, 3}) {
      const Prepare call = {source.data(), Stored::int16, from, nullptr, Real::float32, to, matrix, {n, 1, n},
                            {0.01f, 0.3f, -5.0f, 6.0f, -9.0f}, nullptr};
      if (axis_map(matrix, to).aligned) {
        check_prepare<PrepareAligned<std::int16_t, float>, float>(call, "prepare_aligned");
        check_prepare<PrepareAligned<std::int16_t, Half>, Half>(call, "prepare_aligned half");
      }
      check_prepare<PrepareOblique<std::int16_t, float>, float>(call, "prepare_oblique");
      check_prepare<PrepareOblique<std::int16_t, Half>, Half>(call, "prepare_oblique half");
    }
    check_label<float>(matrix);
    check_label<Half>(matrix);
  }
  check_blend();
  return failures;
}
"""


@pytest.mark.slow
@pytest.mark.parametrize("flags", [[], ["-mavx2", "-mf16c"]], ids=["baseline", "avx2"])
def test_one_voxel_form_makes_the_same_bits_as_rows(flags, tmp_path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    if flags and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this machine has no AVX2")
    (tmp_path / "voxels.cpp").write_text(PROGRAM)
    subprocess.run(
        [compiler, "-std=c++17", "-O1", "-ffp-contract=off", *flags, f"-I{ROOT / 'kernels'}",
         str(tmp_path / "voxels.cpp"), "-o", str(tmp_path / "voxels")],
        check=True,
    )  # fmt: skip
    done = subprocess.run([tmp_path / "voxels"], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0
