"""Patches of labelled images, moved, bent and shown as another scanner might: seeded and on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from training.geometry import random_rotation, smooth_field
from training.labelled.samples import Sample

__all__ = ["Augmentation", "centred", "random_patch"]


@dataclass(frozen=True)
class Augmentation:
    """How far.

    Attributes:
        rotation_deg: Standard deviation of the rotation about each axis.
        scale: Standard deviation of log scale along each axis.
        bend_voxels: Largest standard deviation of the elastic displacement.
        shift_voxels: Centres lie within this distance of the image's.
        mirrored: Probability of left and right exchanged, for targets that have no side.
        gain: Standard deviation of log contrast.
        offset: Standard deviation of an added constant, in units of normalised intensity.
        bias: Standard deviation of smooth brightening.
        noise: Largest standard deviation of noise.
        blur: Probability of a slight blur.
    """

    rotation_deg: float = 10.0
    scale: float = 0.08
    bend_voxels: float = 1.2
    shift_voxels: float = 4.0
    mirrored: float = 0.5
    gain: float = 0.15
    offset: float = 0.15
    bias: float = 0.15
    noise: float = 0.2
    blur: float = 0.15


def _positions(
    shape: tuple[int, ...], patch: tuple[int, int, int], random: Generator, config: Augmentation
) -> Tensor:
    """Where each voxel of the patch looks, as `grid_sample` wants it: (1, I, J, K, 3), last axis first."""
    matrix = torch.from_numpy(random_rotation(random, config.rotation_deg).astype(np.float32))
    matrix *= torch.from_numpy(np.exp(random.normal(0, config.scale, 3)).astype(np.float32))
    if random.random() < config.mirrored:
        matrix[0] = -matrix[0]
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in patch]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1) @ matrix.T
    bend, knots = float(random.uniform(0, config.bend_voxels)), int(random.integers(3, 7))
    for axis in range(3):
        places[..., axis] += smooth_field(random, knots, patch) * bend
        places[..., axis] += float(random.uniform(-1, 1)) * config.shift_voxels
    half = torch.tensor([(n - 1) / 2 if n > 1 else 1.0 for n in shape])
    return (places / half).flip(-1)[None]


def random_patch(
    sample: Sample, patch: tuple[int, int, int], targets: int, random: Generator, config: Augmentation
) -> tuple[Tensor, Tensor]:
    """Draw one patch.

    Args:
        sample: Where from.
        patch: Its shape.
        targets: T, without the background.
        random: Where chance comes from.
        config: How far it is changed.

    Returns:
        Image (M, I, J, K) float32, and class counts (1 + T, I, J, K) uint8 of 0…8: labels are moved as
        fractions, in eighths. Outside the scan the image is 0 and the label background.
    """
    where = _positions(sample.labels.shape, patch, random, config)
    image = F.grid_sample(torch.from_numpy(sample.image)[None], where, "bilinear", "zeros", True)[0]
    one = F.one_hot(torch.from_numpy(sample.labels).long(), targets + 1)[..., 1:].permute(3, 0, 1, 2)
    parts = F.grid_sample(one.float()[None], where, "bilinear", "zeros", True)[0]
    counts = torch.round(8 * parts).to(torch.uint8)
    for lower in range(1, targets):  # rounding must not make more than eight
        counts[lower] = torch.minimum(counts[lower], 8 - counts[:lower].sum(0))
    background = 8 - counts.sum(0, keepdim=True)
    return _repainted(image, random, config), torch.cat([background, counts]).to(torch.uint8)


def _repainted(image: Tensor, random: Generator, config: Augmentation) -> Tensor:
    for channel in image:
        if not bool(channel.any()):
            continue
        if random.random() < config.blur:
            blurred = F.avg_pool3d(channel[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
            channel.lerp_(blurred, float(random.uniform(0.2, 0.9)))
        shape = tuple(channel.shape)
        channel.mul_(float(np.exp(random.normal(0, config.gain))))
        channel.add_(float(random.normal(0, config.offset)))
        channel.add_(smooth_field(random, 3, shape) * float(random.normal(0, config.bias)))
        noise = torch.from_numpy(random.standard_normal(shape, np.float32))
        channel.add_(noise * float(random.uniform(0, config.noise)))
    return image


def centred(image: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, tuple[slice, slice, slice]]:
    """Pad the last three axes with zeros to at least a shape, evenly.

    Returns:
        The padded image, and where the given one lies in it.
    """
    pads, places = [], []
    for length, wanted in zip(image.shape[-3:], shape, strict=True):
        before = max(0, wanted - length) // 2
        pads.append((before, max(0, wanted - length) - before))
        places.append(slice(before, before + length))
    flat = [side for pair in reversed(pads) for side in pair]
    return F.pad(image, flat), (places[0], places[1], places[2])
