"""How bright a whole scan is: a patch is shown to the network with the gain of the scan around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from runtime.stages.statistics import Statistics
from training.tissues import TISSUES, index_of

__all__ = ["Scan", "foreground_gain", "scan_around", "strip"]

_BINS = 512
_FAT = index_of("fat")
_SOFT = np.array([index_of("muscle"), index_of("skin")])
_HEAD = np.array([tissue.structure == "head" for tissue in TISSUES])
_OUTSIDE = np.array([tissue.structure in ("head", "outer_csf") for tissue in TISSUES])


@dataclass(frozen=True)
class Scan:
    """What a scan shows, as a sample of its voxels.

    Attributes:
        parts: (tissues, N) float32, share of each tissue in each sampled voxel.
        weights: (N,) how often a voxel like this occurs; all alike when absent.
    """

    parts: NDArray[np.float32]
    weights: NDArray[np.float64] | None = None


def scan_around(cubes: NDArray[np.uint8], patch: NDArray[np.float64], random: Generator) -> Scan:
    """A scan of the head that a patch was cut from.

    Scans differ in how much air surrounds the head and how much of face and neck they reach; how
    much of the soft tissue is fat is taken from the patch.

    Args:
        cubes: (tissues, N) counts of 0…8, see `training.anatomy.Head.cubes`.
        patch: (tissues,) amounts in the patch.
        random: Where chance comes from.
    """
    parts = cubes.astype(np.float32) / np.float32(8)
    fat = patch[_FAT] / max(patch[_FAT] + patch[_SOFT].sum(), 1)
    fatty = random.random(parts.shape[1]) < fat
    parts[_FAT, fatty] += parts[_SOFT][:, fatty].sum(0)
    parts[np.ix_(_SOFT, np.flatnonzero(fatty))] = 0
    weights = np.ones(parts.shape[1])
    weights[parts[_HEAD].sum(0) > 0.5] = random.uniform(0.5, 1.1)
    air = parts[0] > 0.99
    weights[air] = weights[~air].sum() * np.exp(random.uniform(np.log(0.4), np.log(4.0))) / max(air.sum(), 1)
    return Scan(parts, weights)


def strip(scan: Scan) -> Scan:
    """The same scan with everything outside the brain set to air."""
    parts = scan.parts.copy()
    lost = parts[_OUTSIDE].sum(0) > 0.5
    parts[:, lost] = 0
    parts[0, lost] = 1
    return Scan(parts, scan.weights)


def foreground_gain(
    scan: Scan,
    means: NDArray[np.float32],
    deviations: NDArray[np.float32],
    power: float,
    random: Generator,
) -> float:
    """Gain that brings the mean of a scan's foreground to one half, as the runtime does.

    Args:
        scan: What is there.
        means: (tissues,) mean of each tissue.
        deviations: (tissues,) standard deviation of each tissue.
        power: Values are raised to it.
        random: Draws the noise.
    """
    noise = random.standard_normal(scan.parts.shape[1], np.float32)
    values = np.abs(means @ scan.parts + (deviations @ scan.parts) * noise) ** power
    counts, edges = np.histogram(values, _BINS, weights=scan.weights)
    found = counts > 0
    share = np.ceil(counts[found] / counts.sum() * 1e9).astype(np.uint64)
    counted = Statistics(share, edges[:-1][found], edges[1:][found])
    return 0.5 / counted.mean(above=counted.otsu())
