"""Everything around the brain: cavity of the skull, bone, face, eyes, air, vessels, skin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.phantom.parameters import HeadParameters
from training.phantom.shapes import Float, Points, Tube, ellipsoid, inside_ellipsoid, smooth_minimum

__all__ = ["Skull"]

_SOFT, _SKIN, _BONE, _MARROW = 507, 511, 515, 516
_VEIN, _ARTERY, _CORD, _MUCOSA = 514, 502, 512, 509
_CANAL = Tube(
    ((0.0, -8.0, -34.0), (0.0, -18.0, -58.0), (0.0, -25.0, -80.0), (0.0, -28.0, -190.0)),
    (24.0, 15.0, 10.0, 9.0),
)
_CORD_TUBE = Tube(((0.0, -22.5, -66.0), (0.0, -25.0, -80.0), (0.0, -28.0, -190.0)), (4.8, 4.6, 4.4))
_PHARYNX = Tube(((0.0, 26.0, -58.0), (0.0, 12.0, -75.0), (0.0, 6.0, -190.0)), (8.0, 8.0, 7.0))
_NERVE = Tube(((32.0, 61.0, -40.0), (24.0, 45.0, -34.0), (9.0, 26.0, -24.0), (0.0, 21.0, -19.0)), (2.2,) * 4)
_RECTI = tuple(
    Tube(((32.0 + dx, 68.0, -40.0 + dz), (25.0, 44.0, -35.0)), (2.6, 1.6))
    for dx, dz in ((11.0, 0.0), (-11.0, 0.0), (0.0, 11.0), (0.0, -11.0))
)
_CAROTID = Tube(
    (
        (27.0, 2.0, -190.0),
        (24.0, -2.0, -70.0),
        (23.0, 2.0, -52.0),
        (12.0, 8.0, -46.0),
        (11.0, 18.0, -36.0),
        (12.0, 19.0, -22.0),
    ),
    (3.2, 2.7, 2.6, 2.6, 2.5, 1.8),
)
_BASILAR = Tube(((9.0, -14.0, -70.0), (2.0, 0.0, -50.0), (0.0, 10.0, -28.0)), (1.8, 1.9, 1.7))
_JUGULAR = Tube(
    ((0.0, -79.0, -22.0), (40.0, -63.0, -30.0), (52.0, -36.0, -34.0), (42.0, -22.0, -56.0),
     (27.0, -4.0, -66.0), (31.0, -2.0, -190.0)),
    (3.2, 3.6, 3.8, 4.0, 4.0, 4.2),
)  # fmt: skip
_STRAIGHT_SINUS = Tube(((0.0, -26.0, -1.0), (0.0, -79.0, -20.0)), (1.8, 2.4))
_JAW = Tube(
    ((46.0, 12.0, -62.0), (45.0, 16.0, -100.0), (28.0, 52.0, -116.0), (0.0, 68.0, -119.0)),
    (4.0, 6.5, 7.0, 7.5),
)
_TEETH = Tube(((24.0, 44.0, -92.0), (17.0, 64.0, -92.0), (0.0, 74.0, -92.0)), (6.5, 6.5, 6.5))
_SINUSES: tuple[tuple[tuple[float, float, float], tuple[float, float, float]], ...] = (
    ((8.0, 85.0, -22.0), (13.0, 4.5, 11.0)),
    ((5.0, 29.0, -39.0), (11.0, 13.0, 9.0)),
    ((27.0, 51.0, -66.0), (11.0, 16.0, 15.0)),
    ((6.0, 56.0, -42.0), (5.0, 17.0, 8.0)),
)
"""Air: frontal, sphenoid, maxillary and ethmoid, right-handed."""


@dataclass(frozen=True)
class Skull:
    """The shapes around one brain in the average head's frame.

    Attributes:
        skull_mm: Thickness of the vault.
        scalp_mm: Thickness of scalp and skin.
        face_mm: How far the face is pushed forward.
    """

    skull_mm: float
    scalp_mm: float
    face_mm: float

    @staticmethod
    def of(parameters: HeadParameters) -> Skull:
        """Build the shapes from the parameters."""
        return Skull(parameters.skull_mm, parameters.scalp_mm, parameters.face_mm)

    def cavity(self, points: Points) -> Float:
        """Approximate signed distance to the inside of the skull, negative inside, (N,) mm."""
        x, y, z = points
        vault = ellipsoid(points, (0.0, 1.0, 5.0), (67.8, 84.0, 64.0), 2.25)
        rise = np.clip((y - 20.0) / 12.0, 0.0, 1.0)
        floor = -34.0 + rise * (7.5 - np.maximum(12.0 - np.abs(x), 0.0) * 0.2)
        vault = np.maximum(vault, np.asarray(floor - z, np.float32))
        side: Points = (np.abs(x), y, z)
        middle = ellipsoid(side, (38.0, 11.0, -23.0), (25.5, 36.0, 20.8), 2.2)
        back = ellipsoid(side, (16.0, -40.0, -36.0), (39.5, 34.0, 28.5), 2.3)
        cistern = ellipsoid(points, (0.0, 8.0, -19.0), (30.0, 26.0, 15.0))
        total = smooth_minimum(smooth_minimum(vault, middle, 5.0), back, 5.0)
        petrous = ellipsoid(side, (47.0, -13.0, -43.0), (24.0, 12.0, 12.0))
        total = np.maximum(total, -petrous)
        return np.minimum(np.minimum(total, cistern), _CANAL.distance(points))

    def surface(self, points: Points) -> Float:
        """Approximate signed distance to the skin, negative inside, (N,) mm."""
        x, y, z = points
        grown = self.skull_mm + self.scalp_mm - 15.0
        vault = ellipsoid(points, (0.0, 2.0, 2.0), (80.0 + grown, 99.0 + grown, 81.5 + grown), 2.2)
        f = self.face_mm
        face = ellipsoid(points, (0.0, 32.0 + f, -62.0), (61.0, 60.0, 76.0), 2.6)
        chin = ellipsoid(points, (0.0, 60.0 + f, -114.0), (30.0, 24.0, 20.0))
        nose = ellipsoid(points, (0.0, 93.0 + f + 0.25 * (-60.0), -64.0), (16.0, 31.0, 17.0), 1.6)
        brow = ellipsoid(points, (0.0, 74.0 + f, -28.0), (46.0, 20.0, 17.0), 2.4)
        low = np.maximum(-60.0 - z, 0.0)
        across = np.sqrt((x / (62.0 - np.minimum(0.1 * low, 8.0))) ** 2 + ((y + 12.0) / 60.0) ** 2)
        neck = np.maximum((across - 1.0) * 60.0, z + 30.0)
        ear = ellipsoid((np.abs(x), y, z), (80.0, -14.0, -42.0), (5.0, 14.0, 27.0))
        eye = ellipsoid((np.abs(x), y, z), (32.0, 73.0 + f, -40.0), (17.0, 15.0, 14.0))
        shape = smooth_minimum(vault, np.asarray(neck, np.float32), 18.0)
        for part, width in ((face, 14.0), (brow, 8.0), (eye, 5.0), (chin, 10.0), (nose, 8.0), (ear, 6.0)):
            shape = smooth_minimum(shape, part, width)
        return shape

    def paint(self, points: Points, cavity: Float, surface: Float) -> NDArray[np.int16]:
        """Label points between cavity and skin.

        Args:
            points: Coordinates in the average head's frame.
            cavity: `cavity(points)`, positive.
            surface: `surface(points)`, negative.
        """
        x, y, z = points
        side: Points = (np.abs(x), y, z)
        face: Points = (side[0], y - np.float32(self.face_mm), z)
        labels = np.full(x.shape, _SOFT, np.int16)
        labels[surface > -3.2] = _SKIN
        self._paint_bone(side, face, cavity, labels)
        deep = surface < -1.5
        for centre, semi in _SINUSES:
            labels[inside_ellipsoid(face, centre, (semi[0] + 1.5, semi[1] + 1.5, semi[2] + 1.5)) & deep] = (
                _BONE
            )
        nose = inside_ellipsoid(face, (0.0, 64.0, -63.0), (15.0, 39.0, 17.0)) & (surface < -3.0)
        labels[nose] = _MUCOSA
        meatus = np.abs(side[0] - 5.0 - 1.5 * np.sin(z * np.float32(0.45))) < 1.1
        labels[nose & meatus] = 0
        for centre, semi in _SINUSES:
            labels[inside_ellipsoid(face, centre, semi) & deep] = 0
        labels[_PHARYNX.distance(points) < 0] = 0
        canal = Tube(((52.0, -12.0, -43.0), (90.0, -14.0, -43.0)), (3.0, 3.5)).distance(side) < 0
        labels[canal] = 0
        self._paint_orbit(face, deep, labels)
        for tube, value in ((_CAROTID, _ARTERY), (_JUGULAR, _VEIN)):
            labels[(tube.distance(side) < 0) & deep] = value
        return labels

    def _paint_bone(self, side: Points, face: Points, cavity: Float, labels: NDArray[np.int16]) -> None:
        x, y, z = side
        thick = np.float32(self.skull_mm) * (1.0 + 0.15 * np.sin(y / 19.0))
        bone = (cavity < thick) & (z > -70.0 + 0.25 * np.abs(y + 30))
        petrous = inside_ellipsoid(side, (47.0, -12.0, -45.0), (23.0, 16.0, 14.0))
        clivus = inside_ellipsoid(side, (0.0, 13.0, -50.0), (16.0, 13.0, 12.0))
        cheek = inside_ellipsoid(face, (45.0, 50.0, -60.0), (11.0, 14.0, 8.0))
        labels[bone | petrous | clivus | cheek] = _BONE
        diploe = np.abs(cavity - thick * 0.5) < thick * np.float32(0.12)
        labels[bone & diploe & (z > -25)] = _MARROW
        labels[inside_ellipsoid(side, (0.0, 13.0, -50.0), (13.0, 10.0, 9.0))] = _MARROW
        cells = np.sin(x * 1.3) + np.sin(y * 1.1 + 1.0) + np.sin(z * 1.2)
        labels[inside_ellipsoid(side, (52.0, -20.0, -46.0), (13.0, 13.0, 13.0)) & (cells > 0.3)] = 0
        spine = np.sqrt(x**2 + (y + 8.0 + 0.02 * (z + 80)) ** 2)
        body = (spine < 10.0) & (z < -66.0) & (np.sin((z + 66) * np.float32(2 * np.pi / 17)) < 0.75)
        labels[body] = _BONE
        labels[body & (spine < 7.5)] = _MARROW
        arch = (cavity < 4.0) & (z < -74.0) & (np.sin((z + 66) * np.float32(2 * np.pi / 17)) < 0.0)
        labels[arch] = _BONE
        for tube, marrow in ((_JAW, 2.0), (_TEETH, 3.5)):
            distance = tube.distance(face)
            labels[distance < 0] = _BONE
            labels[distance < -marrow] = _MARROW

    def _paint_orbit(self, face: Points, deep: NDArray[np.bool_], labels: NDArray[np.int16]) -> None:
        near = np.flatnonzero((face[1] > 20) & (face[2] < -15) & (face[2] > -60) & deep)
        if near.size == 0:
            return
        local = (face[0][near], face[1][near], face[2][near])
        fat = ellipsoid(local, (29.0, 60.0, -40.0), (16.5, 24.0, 16.5))
        inside = (fat < 0) & (local[0] > 13.0)
        labels[near[inside]] = _SOFT
        for rectus in _RECTI:
            labels[near[(rectus.distance(local) < 0) & inside]] = 508
        labels[near[_NERVE.distance(local) < 0]] = 530
        labels[near[inside_ellipsoid(local, (32.0, 73.0, -40.0), (12.2, 11.6, 11.8))]] = 506
        labels[near[inside_ellipsoid(local, (32.0, 82.5, -40.0), (4.2, 2.0, 4.2))]] = 508

    def paint_vessels(self, points: Points, cavity: Float, labels: NDArray[np.int16]) -> None:
        """Put sinuses, arteries, cord and optic nerves into the fluid of the cavity, in place.

        Args:
            points: Coordinates in the average head's frame.
            cavity: `cavity(points)`, negative.
            labels: Labels of the points; only fluid (24) is replaced.
        """
        x, y, z = points
        side: Points = (np.abs(x), y, z)
        fluid = labels == 24
        sagittal = (np.abs(x) < 4.5 + 0.75 * (cavity + 1.0)) & (cavity > -7.0) & (z > -18)
        sagittal &= (y < 78.0) & ((z > 5) | (y < 0))
        labels[fluid & sagittal] = 514
        for tube, value in (
            (_STRAIGHT_SINUS, _VEIN),
            (_JUGULAR, _VEIN),
            (_CAROTID, _ARTERY),
            (_BASILAR, _ARTERY),
        ):
            labels[fluid & (tube.distance(side) < 0)] = value
        labels[fluid & (_NERVE.distance(side) < 0)] = 530
        labels[fluid & (_CORD_TUBE.distance(points) < 0) & (z < -67)] = _CORD
