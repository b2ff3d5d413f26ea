"""One case of a data set: where its images and labels are, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.errors import ImageError
from runtime.formats.nifti_read import read_nifti_volume
from runtime.volume import Labels, Volume

__all__ = ["ImageFile", "LabelledCase"]

_SAME_PLACE_MM = 0.05
"""Image and labels of one grid: headers of real data sets round their affines differently."""


@dataclass(frozen=True)
class ImageFile:
    """A NIfTI file, or one channel of a 4-D one.

    Attributes:
        path: The file.
        channel: Along the fourth axis; None for a 3-D file.
    """

    path: Path
    channel: int | None = None


@dataclass(frozen=True)
class LabelledCase:
    """Images of one head or body, and the labels somebody gave them.

    Attributes:
        name: Unique in its data set.
        images: By modality, in the data set's own words.
        labels: A 3-D file on the images' grid.
        structures: Label value to name, background left out.
    """

    name: str
    images: Mapping[str, ImageFile]
    labels: Path
    structures: Mapping[int, str]

    def read(self) -> tuple[dict[str, Volume], Labels]:
        """Read images by modality, and the labels.

        Raises:
            ImageError: A file cannot be read, lies elsewhere than the labels, or has labels without a name.
        """
        stored, _ = read_nifti_volume(self.labels)
        values = stored.voxels * stored.slope + stored.intercept
        known = np.isin(values, [0, *self.structures])
        if not known.all():
            unknown = sorted(np.unique(values[~known]).tolist())[:5]
            raise ImageError(
                f"{self.labels} has labels without a name: {unknown}; it names {dict(self.structures)}"
            )
        labels = Labels(values.astype(np.uint8), stored.affine, dict(self.structures))
        images = {}
        for modality, file in self.images.items():
            images[modality], _ = read_nifti_volume(file.path, file.channel)
            if not images[modality].grid.same_place_as(labels.grid, _SAME_PLACE_MM):
                raise ImageError(f"{file.path} and its labels {self.labels} do not lie on one grid")
        return images, labels
