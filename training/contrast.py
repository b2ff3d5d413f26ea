"""Random looks: tissue fractions become the channels a scanner would have made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from training.brightness import Scan, foreground_gain
from training.geometry import smooth_field
from training.tissues import CHANNELS, TISSUES, index_of, mean_table

__all__ = ["CT_WINDOW", "ContrastConfig", "paint"]

CT_WINDOW = (-20.0, 100.0)
"""Hounsfield units shown to the network as 0 and 1."""

CLAMP = 2.0
"""MR intensities end here: twice the gain of the foreground mean."""


@dataclass(frozen=True)
class ContrastConfig:
    """How looks vary.

    Attributes:
        wild: Probability that an MR channel gets fully random tissue means (SynthSeg's manner).
        cropped: Probability that a channel's scan does not reach the patch's top or bottom.
        thick: Probability of slices thicker than the model's voxels.
        clinical: Probability of the usual study: T1 in thin slices, all else in thick axial ones.
    """

    wild: float = 0.2
    cropped: float = 0.15
    thick: float = 0.6
    clinical: float = 0.25


def _means(channel: str, random: Generator, config: ContrastConfig) -> NDArray[np.float32]:
    """Mean of each tissue in one channel of one head."""
    centre = mean_table()[CHANNELS.index(channel)].copy()
    count = len(centre)
    if channel == "CT":
        soft = np.abs(centre) < 200
        shift = random.normal(0, 2.0) + random.normal(0, 2.0, count)
        centre[soft] = centre[soft] * random.normal(1, 0.05) + shift[soft]
        centre[~soft] *= random.uniform(0.6, 1.2, count)[~soft]
        return np.asarray(centre, np.float32)
    if random.random() < config.wild:
        wild = random.uniform(0.02, 1.1, count)
        wild[index_of("air")] = random.uniform(0, 0.05)
        wild[index_of("outer fluid")] = wild[index_of("sulcal fluid")] + random.normal(0, 0.03)
        wild[index_of("third ventricle")] = wild[index_of("lateral ventricle")] + random.normal(0, 0.03)
        return np.asarray(np.maximum(wild, 0), np.float32)
    spread = 0.05 if random.random() < 0.6 else 0.12
    contrast = random.normal(1, 0.25)  # grey against white: strong or washed out
    pivot = centre[index_of("cerebral white matter")]
    brain = np.array([tissue.structure not in ("background", "head") for tissue in TISSUES])
    fluid = np.array(["ventricle" in tissue.name or "fluid" in tissue.name for tissue in TISSUES])
    tissue_only = brain & ~fluid
    centre[tissue_only] = pivot + (centre[tissue_only] - pivot) * max(0.3, contrast)
    centre = centre + random.normal(0, spread, count) * np.where(tissue_only, 0.6, 1.0)
    if channel == "FLAIR" and random.random() < 0.2:  # fluid not nulled well
        centre[fluid] += random.uniform(0, 0.35)
    centre[index_of("air")] = random.uniform(0, 0.04)
    return np.asarray(np.maximum(centre, 0), np.float32)


Slices = tuple[int, float]
"""Axis along which slices lie, and the distance between them in mm."""


def _choose_slices(channel: str, random: Generator, clinical: bool) -> Slices | None:
    """How a channel is scanned; None for voxels as small as the model's."""
    if clinical:
        return None if channel in ("T1", "T1c") else (2, float(random.uniform(2.5, 5.0)))
    if random.random() >= 0.85:
        return None
    return int(random.choice(3, p=[0.2, 0.2, 0.6])), float(random.uniform(2.0, 7.0))


def _thick_slices(image: Tensor, random: Generator, spacing_mm: float, slices: Slices) -> Tensor:
    """What thick slices along one axis keep of an image; voxels stay as they are."""
    axis, step_mm = slices
    thickness_mm = step_mm * float(random.uniform(0.55, 1.0))
    size = list(image.shape)
    kernel = [1, 1, 1]
    kernel[axis] = max(1, round(thickness_mm / spacing_mm) // 2 * 2 + 1)
    padding = [n // 2 for n in kernel]
    blurred = F.avg_pool3d(image[None, None], kernel, 1, padding, count_include_pad=False)
    fewer = list(size)
    fewer[axis] = max(4, round(size[axis] * spacing_mm / step_mm))
    coarse = F.interpolate(blurred, size=fewer, mode="trilinear", align_corners=False)
    return F.interpolate(coarse, size=size, mode="trilinear", align_corners=False)[0, 0]


def _paint_mr(
    clean: Tensor, deviation: Tensor, random: Generator, spacing_mm: float, slices: Slices | None
) -> tuple[Tensor, float]:
    """The image, and the power its values were raised to."""
    shape = tuple(clean.shape)
    noise = torch.from_numpy(random.standard_normal(shape, np.float32))
    image = clean + deviation * noise
    bias = smooth_field(random, int(random.integers(2, 5)), shape)
    image = image * torch.exp(bias * float(random.uniform(0, 0.25)))
    if random.random() < 0.3:
        image = F.avg_pool3d(image[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    rician = float(random.uniform(0, 0.06)) ** 2
    extra = torch.from_numpy(random.standard_normal((2, *shape), np.float32)) * (rician**0.5)
    image = ((image + extra[0]) ** 2 + extra[1] ** 2).sqrt_()
    if slices is not None:
        image = _thick_slices(image, random, spacing_mm, slices)
    power = float(np.exp(random.normal(0, 0.15)))
    return image.clamp_min_(0) ** power, power


def _paint_ct(
    clean: Tensor, deviation: Tensor, random: Generator, spacing_mm: float, slices: Slices | None
) -> Tensor:
    shape = tuple(clean.shape)
    noise = torch.from_numpy(random.standard_normal(shape, np.float32))
    image = clean + (deviation + float(random.uniform(1, 9))) * noise
    image += smooth_field(random, 3, shape) * float(random.uniform(0, 3))
    if slices is not None:
        image = _thick_slices(image, random, spacing_mm, slices)
    low, high = CT_WINDOW
    return ((image - low) / (high - low)).clamp_(0, 1)


def _choose_channels(random: Generator) -> list[int]:
    """Any subset of the channels; single ones and the usual MR sets most often."""
    draw = random.random()
    if draw < 0.45:
        return [int(random.choice(5, p=[0.3, 0.1, 0.2, 0.2, 0.2]))]
    if draw < 0.65:
        usual: list[list[int]] = [
            [0, 2, 3],
            [0, 1, 2, 3],
            [0, 3],
            [1, 3],
            [0, 2],
            [0, 1, 2, 3, 4],
            [0, 2, 3, 4],
            [0, 1, 2, 3],
        ]
        return usual[int(random.integers(len(usual)))]
    chosen = [n for n in range(5) if random.random() < 0.5]
    return chosen or [int(random.integers(5))]


def paint(
    fractions: Tensor,
    random: Generator,
    spacing_mm: float,
    config: ContrastConfig,
    chosen: Sequence[int] | None = None,
    scan: Scan | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw the channels of one head.

    Args:
        fractions: (tissues, I, J, K) uint8 counts of 0…8.
        random: Where chance comes from.
        spacing_mm: Voxel size.
        config: How looks vary.
        chosen: Indices of the channels to draw; a random subset when absent.
        scan: What the whole scan shows, which decides the gain of MR channels; the patch is the
            whole scan when absent.

    Returns:
        Channels (5, I, J, K) float32, missing ones zero; seen voxels (I, J, K) bool, False where no
        channel was scanned.
    """
    parts = fractions.float().div_(8)
    shape = tuple(parts.shape[1:])
    if scan is None:
        scan = Scan(parts.flatten(1)[:, :: max(1, shape[0] * shape[1] * shape[2] // 50_000)].numpy())
    flat = parts.view(len(TISSUES), -1)
    chosen = _choose_channels(random) if chosen is None else chosen
    channels = torch.zeros(len(CHANNELS), *shape)
    seen = torch.zeros(shape, dtype=torch.bool)
    clinical = random.random() < config.clinical
    thick_study = random.random() < config.thick
    for index in chosen:
        means = _means(CHANNELS[index], random, config)
        scale = 6.0 if CHANNELS[index] == "CT" else 0.05
        deviations = random.uniform(0, scale, len(TISSUES)).astype(np.float32)
        deviations[0] = 0
        clean = (torch.from_numpy(means) @ flat).view(shape)
        deviation = (torch.from_numpy(deviations) @ flat).view(shape)
        sliced = clinical or thick_study
        slices = _choose_slices(CHANNELS[index], random, clinical) if sliced else None
        if CHANNELS[index] == "CT":
            image = _paint_ct(clean, deviation, random, spacing_mm, slices)
        else:
            image, power = _paint_mr(clean, deviation, random, spacing_mm, slices)
            gain = foreground_gain(scan, means, deviations, power, random)
            image = (image * (gain * float(np.exp(random.normal(0, 0.12))))).clamp_(0, CLAMP)
        scanned = torch.ones(shape, dtype=torch.bool)
        if random.random() < config.cropped:
            cut = int(random.integers(2, shape[2] // 3))
            scanned[..., -cut:] = False
            if random.random() < 0.5:
                scanned = scanned.flip(2)
        channels[index] = image * scanned
        seen |= scanned
    return channels, seen
