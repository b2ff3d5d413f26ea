"""What may differ between two phantom heads: sizes, pose, folding, ventricles, lesions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEMO_LESIONS", "HeadParameters", "Lesion"]

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Lesion:
    """One lesion, in the head's own frame (before `HeadParameters.tilt_deg` and `offset_mm`).

    Attributes:
        kind: "plaque" (id 77) or "tumour" (9001 necrotic core, 9002 enhancing rim, 9003 oedema).
        centre_mm: Centre, R A S from the midpoint of the thalami.
        semi_axes_mm: Outer semi-axes; for a tumour those of its oedema.
        irregularity: Relative depth of the lobes of a tumour's surface, 0 is an ellipsoid.
    """

    kind: str
    centre_mm: Triple
    semi_axes_mm: Triple
    irregularity: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("plaque", "tumour"):
            raise ValueError(f"lesion kind {self.kind!r} is not known; use 'plaque' or 'tumour'")
        if min(self.semi_axes_mm) <= 0:
            raise ValueError(f"lesion semi-axes {self.semi_axes_mm} mm must be positive")


DEMO_LESIONS = (
    Lesion("tumour", (37.0, 35.0, 24.0), (18.0, 21.0, 19.0), 0.12),
    Lesion("plaque", (-26.0, -16.0, 20.0), (4.0, 6.0, 3.5)),
    Lesion("plaque", (-21.0, 26.0, 22.0), (3.5, 4.5, 3.5)),
    Lesion("plaque", (29.0, -26.0, 17.0), (3.5, 5.0, 4.0)),
)


@dataclass(frozen=True)
class HeadParameters:
    """One head; the defaults are the demo head, an average adult.

    Attributes:
        scale: Size along R, A, S relative to the average.
        tilt_deg: Rotation about R, A, S, applied in this order.
        offset_mm: Where the midpoint of the thalami lies in the world.
        asymmetry: 0 is mirror-symmetric (lesions apart), 1 is a usual head.
        ventricle_size: Factor on the ventricles' cross-sections (linear).
        structure_size: Factor on the deep grey structures (linear).
        sulcus_mm: Half width of a sulcus below the surface of the brain.
        cortex_mm: Thickness of the cortex.
        gyral_wavelength_mm: Distance from one sulcus to the next but one.
        gyral_depth_mm: Mean depth of the sulci.
        subarachnoid_mm: Fluid between brain and skull, beyond 1 mm of dura.
        skull_mm: Thickness of the skull.
        scalp_mm: Thickness of skin and soft tissue over the skull.
        face_mm: How far the face is pushed forward.
        warp_mm: Amplitude of the smooth deformation of the whole head.
        lesions: What is wrong with it.
        seed: Draws folding and deformation.
    """

    scale: Triple = (1.0, 1.0, 1.0)
    tilt_deg: Triple = (0.0, 0.0, 0.0)
    offset_mm: Triple = (0.0, 0.0, 0.0)
    asymmetry: float = 1.0
    ventricle_size: float = 0.92
    structure_size: float = 1.0
    sulcus_mm: float = 0.7
    cortex_mm: float = 2.6
    gyral_wavelength_mm: float = 20.0
    gyral_depth_mm: float = 15.0
    subarachnoid_mm: float = 1.2
    skull_mm: float = 6.5
    scalp_mm: float = 8.5
    face_mm: float = 0.0
    warp_mm: float = 1.5
    lesions: tuple[Lesion, ...] = field(default=DEMO_LESIONS)
    seed: int = 7

    @staticmethod
    def random(seed: int, with_lesions: bool = True) -> HeadParameters:
        """Draw a plausible head; the same seed gives the same head.

        Args:
            seed: Any non-negative integer.
            with_lesions: Draw plaques and tumours too; a tenth of the heads stays without.
        """
        draw = np.random.default_rng([seed, 20261124])
        size = draw.normal(1.0, 0.03)
        atrophy = draw.beta(1.5, 2.5)
        x, y, z = (float(size * factor) for factor in draw.normal(1.0, 0.03, 3))
        tilt = draw.normal(0.0, (8.0, 4.0, 4.0))
        offset = draw.normal(0.0, 6.0, 3)
        return HeadParameters(
            scale=(x, y, z),
            tilt_deg=(float(tilt[0]), float(tilt[1]), float(tilt[2])),
            offset_mm=(float(offset[0]), float(offset[1]), float(offset[2])),
            asymmetry=float(draw.uniform(0.3, 1.5)),
            ventricle_size=float(draw.uniform(0.65, 0.85) + 0.45 * atrophy),
            structure_size=float(draw.normal(1.0, 0.04)),
            sulcus_mm=float(draw.uniform(0.4, 0.7) + 0.5 * atrophy),
            cortex_mm=float(draw.uniform(2.3, 3.0)),
            gyral_wavelength_mm=float(draw.uniform(17.0, 24.0)),
            gyral_depth_mm=float(draw.uniform(12.0, 18.0)),
            subarachnoid_mm=float(draw.uniform(0.3, 1.6) + 3.0 * atrophy),
            skull_mm=float(draw.uniform(4.5, 8.5)),
            scalp_mm=float(draw.uniform(6.5, 11.5)),
            face_mm=float(draw.normal(0.0, 3.0)),
            warp_mm=float(draw.uniform(0.5, 3.0)),
            lesions=_random_lesions(draw) if with_lesions and draw.random() < 0.9 else (),
            seed=seed,
        )


def _random_lesions(draw: np.random.Generator) -> tuple[Lesion, ...]:
    lesions = []
    if draw.random() < 0.9:
        side = float(draw.choice([-1.0, 1.0]))
        centre = (side * draw.uniform(24, 42), draw.uniform(-45, 42), draw.uniform(8, 34))
        lesions.append(
            Lesion("tumour", centre, _triple(draw.uniform(10, 26, 3)), float(draw.uniform(0, 0.2)))
        )
    for _ in range(int(draw.integers(0, 9))):
        side = float(draw.choice([-1.0, 1.0]))
        centre = (side * draw.uniform(18, 34), draw.uniform(-38, 42), draw.uniform(12, 34))
        lesions.append(Lesion("plaque", centre, _triple(draw.uniform(1.5, 6.0, 3))))
    return tuple(lesions)


def _triple(values: NDArray[np.float64]) -> Triple:
    return float(values[0]), float(values[1]), float(values[2])
