"""The golden study of bundles of heads shows the phantom, and is small."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest

from runtime.bundle import open_bundle
from training.golden import golden_study


@pytest.mark.slow
def test_the_shipped_bundle_brings_the_study_that_is_made_here() -> None:
    bundle, study = open_bundle(), golden_study()
    assert bundle.manifest.golden.study.keys() == study.keys()
    for modality, name in bundle.manifest.golden.study.items():
        kept = nibabel.load(bundle.path(name))
        made = nibabel.Nifti1Image.from_bytes(gzip.decompress(study[modality]))
        assert np.allclose(kept.affine, made.affine)
        different = np.asarray(kept.dataobj, int) - np.asarray(made.dataobj, int)
        # Other processors round otherwise, and a tissue's border may fall on the other side of a fine voxel.
        assert np.abs(different).max() <= 8
        assert (np.abs(different) > 1).mean() < 1e-4
        assert (different != 0).mean() < 0.01


def test_the_shipped_study_is_small_and_shows_a_head() -> None:
    bundle = open_bundle()
    for name in bundle.manifest.golden.study.values():
        assert bundle.path(name).stat().st_size < 250_000
        scan = nibabel.load(bundle.path(name))
        assert scan.get_data_dtype() == np.uint8
        assert np.allclose(scan.header.get_zooms(), 3.0, atol=0.01)
        assert 0.2 < (np.asarray(scan.dataobj) > 20).mean() < 0.8
