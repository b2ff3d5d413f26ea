"""Synthetic lesions: plaques, tumours with rim, cavity and oedema, strokes and bleeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional as F

from training.tissues import TISSUES, index_of

__all__ = ["LesionConfig", "add_lesions"]

_HOSTS = frozenset(
    {
        "cerebral_white_matter",
        "cerebral_cortex",
        "thalamus",
        "caudate",
        "putamen_pallidum",
        "hippocampus_amygdala",
        "ventral_diencephalon",
        "cerebellum",
        "brain_stem",
    }
)


@dataclass(frozen=True)
class LesionConfig:
    """How often each kind is drawn, per patch.

    Attributes:
        plaques: Probability of a scatter of white-matter plaques.
        tumour: Probability of one tumour (a second one follows with a quarter of it).
        blob: Probability of a stroke or bleed.
    """

    plaques: float = 0.3
    tumour: float = 0.45
    blob: float = 0.12


def _host_table() -> Tensor:
    return torch.tensor([tissue.structure in _HOSTS for tissue in TISSUES])


def _pick_centre(mask: Tensor, random: Generator) -> tuple[int, int, int] | None:
    for _ in range(200):
        i, j, k = (int(random.integers(0, n)) for n in mask.shape)
        if mask[i, j, k]:
            return i, j, k
    return None


def _box(centre: tuple[int, int, int], reach: int, shape: torch.Size) -> tuple[slice, slice, slice]:
    i, j, k = (slice(max(0, c - reach), min(n, c + reach + 1)) for c, n in zip(centre, shape, strict=True))
    return i, j, k


def _distance(box: tuple[slice, ...], centre: tuple[int, ...], radii: tuple[float, ...]) -> Tensor:
    """Distance from `centre` in units of the ellipsoid's radii, over the box."""
    terms = []
    for side, c, radius in zip(box, centre, radii, strict=True):
        terms.append(((torch.arange(side.start, side.stop, dtype=torch.float32) - c) / radius) ** 2)
    return (terms[0][:, None, None] + terms[1][:, None] + terms[2]).sqrt_()


def _rough(random: Generator, shape: torch.Size, knot_voxels: float) -> Tensor:
    """Smooth noise over a box with knots about `knot_voxels` apart."""
    knots = [max(2, round(n / knot_voxels) + 1) for n in shape]
    coarse = torch.from_numpy(random.standard_normal((1, 1, *knots), np.float32))
    return F.interpolate(coarse, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]


def _plaques(tissues: Tensor, random: Generator, voxel_mm: float) -> None:
    white = tissues == index_of("cerebral white matter")
    near = tissues == index_of("lateral ventricle")
    near = F.max_pool3d(near[None, None, ::4, ::4, ::4].float(), 5, 1, 2)[0, 0] > 0
    for _ in range(int(random.integers(2, 30))):
        periventricular = random.random() < 0.5
        centre = _pick_centre(white, random)
        if centre is None:
            return
        i, j, k = (min(c // 4, n - 1) for c, n in zip(centre, near.shape, strict=True))
        if periventricular and not near[i, j, k]:
            continue
        radius = float(np.clip(random.lognormal(0.9, 0.55), 1.2, 10)) / voxel_mm
        radii = tuple(radius * float(f) for f in random.uniform(0.6, 1.5, 3))
        box = _box(centre, int(np.ceil(max(radii))) + 1, tissues.shape)
        shape = _distance(box, centre, radii)
        shape += 0.2 * _rough(random, shape.shape, max(2.0, radius))
        inside = (shape < 1) & white[box]
        tissues[box][inside] = index_of("plaque")


def _tumour(tissues: Tensor, random: Generator, voxel_mm: float) -> None:
    """Cavity inside an enhancing or solid rim inside oedema that follows white matter or ends with it."""
    host = _host_table()[tissues.int()]
    centre = _pick_centre(host, random)
    if centre is None:
        return
    radius_mm = float(random.uniform(6, 28))
    radius = radius_mm / voxel_mm
    radii = tuple(radius * float(f) for f in random.uniform(0.7, 1.35, 3))
    reach = min(float(random.uniform(1.0, 2.4)), max(1.0, 42.0 / radius_mm))  # of the oedema, in tumour radii
    box = _box(centre, int(np.ceil(max(radii) * (reach + 0.6))), tissues.shape)
    view, inside_host = tissues[box], host[box]
    shape = _distance(box, centre, radii)
    rough = float(random.uniform(0.1, 0.45)) * _rough(random, shape.shape, max(4.0, radius * 0.5))
    shape += rough + 0.12 * _rough(random, shape.shape, 4.0)
    white = view == index_of("cerebral white matter")
    slower = float(random.uniform(1.2, 2.2)) if random.random() < 0.5 else torch.inf
    spread = torch.where(white, shape, shape * slower)
    spread += 0.3 * _rough(random, shape.shape, max(4.0, radius * 0.6))
    core = (shape < 1) & inside_host
    if reach > 1.15:
        view[(spread < reach) & inside_host & ~core] = index_of("vasogenic oedema")
    kinds = ("enhancing tumour", "faint tumour", "solid tumour")
    rim = index_of(str(random.choice(kinds, p=(0.45, 0.35, 0.2))))
    view[core] = rim
    if random.random() < 0.75:  # necrotic: one cavity, ragged, sometimes several
        cut = float(random.uniform(0.3, 0.85))
        holes = 0.35 * _rough(random, shape.shape, max(4.0, radius * 0.35))
        view[core & (shape + holes < cut)] = index_of("cavity")
    elif random.random() < 0.5:  # patchy: solid and enhancing parts
        patchy = _rough(random, shape.shape, max(4.0, radius * 0.4)) > 0.3
        view[core & patchy] = index_of("solid tumour" if random.random() < 0.5 else "faint tumour")
    if random.random() < 0.3:  # infiltration at the border
        view[(shape < 1.25) & ~core & white & (_rough(random, shape.shape, 5.0) > 0.6)] = rim


def _blob(tissues: Tensor, random: Generator, voxel_mm: float) -> None:
    """A bleed, or a stroke that looks like a plaque of any size."""
    host = _host_table()[tissues.int()]
    centre = _pick_centre(host, random)
    if centre is None:
        return
    radius = float(random.uniform(4, 25)) / voxel_mm
    radii = tuple(radius * float(f) for f in random.uniform(0.6, 1.6, 3))
    box = _box(centre, int(np.ceil(max(radii) * 1.5)), tissues.shape)
    shape = _distance(box, centre, radii)
    shape += 0.3 * _rough(random, shape.shape, max(4.0, radius * 0.5))
    kind = "blood" if random.random() < 0.5 else "plaque"
    view = tissues[box]
    if kind == "blood":
        view[(shape < 1.4) & host[box]] = index_of("vasogenic oedema")
    view[(shape < 1) & host[box]] = index_of(kind)


def add_lesions(tissues: Tensor, random: Generator, voxel_mm: float, config: LesionConfig) -> None:
    """Draw lesions into a fine tissue patch, in place.

    Args:
        tissues: (I, J, K) uint8 tissue indices.
        random: Where chance comes from.
        voxel_mm: Fine voxel size.
        config: How often each kind is drawn.
    """
    if random.random() < config.tumour:
        _tumour(tissues, random, voxel_mm)
        if random.random() < 0.25:
            _tumour(tissues, random, voxel_mm)
    if random.random() < config.blob:
        _blob(tissues, random, voxel_mm)
    if random.random() < config.plaques:
        _plaques(tissues, random, voxel_mm)
