"""How scanners show tissues: one table of brightnesses for each kind of sequence, and chance around it.

What tells sequences apart stays: the order of fluid, grey and white matter, fat, bone and what takes up
contrast agent. All else varies widely. Numbers are relative (MR) or Hounsfield units (CT), chosen by eye as
in `training.tissues`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.tissues import CHANNELS, TISSUES, index_of, mean_table

__all__ = ["Look", "draw_look"]

Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """How one scan shows tissues.

    Attributes:
        modality: In `CHANNELS`.
        means: (tissues,) brightness; CT in Hounsfield units.
        noise: Standard deviation in a voxel, in the same units.
        floor: Share of the noise that lifts what is dark, as magnitude images have it.
        bias: Depth of smooth brightening.
        texture: Depth of smooth unevenness.
        power: Brightness is raised to it.
        gain: Of what a scan is shown with, beside 1.
        blur: Share of a pixel that its neighbours give.
    """

    modality: str
    means: NDArray[np.float32]
    noise: float
    floor: float
    bias: float
    texture: float
    power: float
    gain: float
    blur: float


_FLUID = ("lateral ventricle", "third ventricle", "sulcal fluid", "outer fluid", "cavity", "eye")
_VEINS = ("vessel", "dura and sinus")
_SUPPRESSED = (0.15, 0.35)

_BRAIN = np.array([tissue.structure not in ("background", "head", "lesion", "oedema") for tissue in TISSUES])
_FLUID_OR_VESSEL = np.array([tissue.name in (*_FLUID, *_VEINS, "choroid plexus") for tissue in TISSUES])
_TISSUE = _BRAIN & ~_FLUID_OR_VESSEL
_ENHANCING = np.array(["enhancing" in tissue.name or "faint" in tissue.name for tissue in TISSUES])


def _set(means: NDArray[np.float32], random: Generator, ranges: Mapping[tuple[str, ...], Range]) -> None:
    """One draw for each group of tissues, a little of its own for each of them."""
    for names, (low, high) in ranges.items():
        middle = random.uniform(low, high)
        for name in names:
            means[index_of(name)] = middle * random.normal(1, 0.06)


def _grey_white(means: NDArray[np.float32], random: Generator, low: float, high: float) -> None:
    """Stretch the brain's contrast around white matter by a factor; its order stays."""
    white = means[index_of("cerebral white matter")]
    means[_TISSUE] = white + (means[_TISSUE] - white) * random.uniform(low, high)


def _t1(means: NDArray[np.float32], random: Generator) -> None:
    gradient_echo = random.random() < 0.6
    _grey_white(means, random, *((0.8, 1.5) if gradient_echo else (0.35, 0.9)))
    fluid = (0.08, 0.32) if gradient_echo else (0.2, 0.48)
    fat = _SUPPRESSED if random.random() < 0.15 else (0.8, 2.0) if gradient_echo else (1.0, 3.6)
    veins = (0.3, 0.75) if gradient_echo else (0.12, 0.5)
    ranges: dict[tuple[str, ...], Range] = {
        _FLUID: fluid,
        ("fat",): fat,
        ("skin",): (0.5, 1.0),
        ("muscle",): (0.35, 0.65),
        ("bone marrow",): (0.3, 1.0) if fat != _SUPPRESSED else (0.15, 0.4),
        _VEINS: veins,
        ("mucosa",): (0.4, 0.7),
        ("choroid plexus",): (0.35, 0.55),
    }
    _set(means, random, ranges)


def _t1c(means: NDArray[np.float32], random: Generator) -> None:
    _t1(means, random)
    ranges: dict[tuple[str, ...], Range] = {
        _VEINS: (1.05, 1.7),
        ("mucosa",): (0.85, 1.4),
        ("choroid plexus",): (0.8, 1.3),
        ("enhancing tumour",): (0.95, 1.5),
    }
    _set(means, random, ranges)


def _t2(means: NDArray[np.float32], random: Generator) -> None:
    heavy = random.random() < 0.75
    _grey_white(means, random, 0.6, 1.6)
    ranges: dict[tuple[str, ...], Range] = {
        _FLUID: (0.85, 1.3) if heavy else (0.65, 0.85),
        ("fat",): _SUPPRESSED if random.random() < 0.25 else (0.4, 1.3),
        ("skin",): (0.3, 0.6),
        ("muscle",): (0.12, 0.32),
        ("bone marrow",): (0.2, 0.6),
        _VEINS: (0.05, 0.4),
        ("mucosa",): (0.6, 1.0),
    }
    _set(means, random, ranges)


def _flair(means: NDArray[np.float32], random: Generator) -> None:
    _grey_white(means, random, 0.6, 1.7)
    suppressed = random.random() < 0.5
    ranges: dict[tuple[str, ...], Range] = {
        _FLUID: (0.03, 0.2),
        ("fat",): (0.08, 0.4) if suppressed else (0.5, 1.8),
        ("skin",): (0.15, 0.45) if suppressed else (0.4, 0.8),
        ("muscle",): (0.18, 0.45),
        ("bone marrow",): (0.08, 0.3) if suppressed else (0.25, 0.7),
        _VEINS: (0.08, 0.45),
        ("mucosa",): (0.5, 1.0),
        ("plaque",): (0.75, 1.2),
        ("vasogenic oedema",): (0.7, 1.1),
    }
    _set(means, random, ranges)


def _ct(means: NDArray[np.float32], random: Generator) -> None:
    soft = np.abs(means) < 200
    means[soft] = (
        means[soft] * random.normal(1, 0.07) + random.normal(0, 3) + random.normal(0, 1.5, soft.sum())
    )
    means[~soft] *= random.uniform(0.6, 1.2, (~soft).sum())
    means[0] = -1000


_SEQUENCES = {"T1": _t1, "T1c": _t1c, "T2": _t2, "FLAIR": _flair, "CT": _ct}


def draw_look(modality: str, random: Generator) -> Look:
    """Draw how a scan of a modality shows tissues.

    Args:
        modality: In `CHANNELS`.
        random: Where chance comes from.
    """
    means = mean_table()[CHANNELS.index(modality)].copy()
    _SEQUENCES[modality](means, random)
    count = len(means)
    blur = float(random.uniform(0, 0.7)) if random.random() < 0.35 else 0.0
    if modality == "CT":
        noise = float(np.exp(random.uniform(np.log(1.5), np.log(14))))
        return Look(modality, means, noise, 0.0, 0.0, float(random.uniform(0, 4)), 1.0, 1.0, blur)
    means *= np.where(_TISSUE, random.normal(1, 0.02, count), random.normal(1, 0.06, count)).astype(
        np.float32
    )
    means[0] = random.uniform(0, 0.04)
    noise = float(np.exp(random.uniform(np.log(0.008), np.log(0.12))))
    return Look(
        modality,
        np.maximum(means, 0).astype(np.float32),
        noise,
        float(random.uniform(0, 1)),
        float(random.uniform(0, 0.3) if random.random() < 0.75 else random.uniform(0.3, 0.7)),
        float(random.uniform(0, 0.05)),
        float(np.exp(random.normal(0, 0.15))),
        float(np.exp(min(random.normal(-0.1, 0.25), 0.2))),
        blur,
    )
