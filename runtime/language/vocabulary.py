"""The words that written instructions are made of: a bundle's own, or its names where it brings none."""

from __future__ import annotations

from collections.abc import Iterable

from runtime.bundle import Manifest, Vocabulary

__all__ = ["MODALITIES", "vocabulary_of"]

MODALITIES = {
    "T1": "T1-weighted MRI",
    "T1c": "contrast-enhanced T1-weighted MRI",
    "T2": "T2-weighted MRI",
    "FLAIR": "FLAIR MRI",
    "CT": "CT scan",
}
"""Every modality of a channel in words."""


def vocabulary_of(manifest: Manifest) -> Vocabulary:
    """A bundle's vocabulary; without one, names with spaces for underscores, and nothing to be found."""
    if manifest.vocabulary is not None:
        return manifest.vocabulary
    structures = manifest.structures
    return Vocabulary(
        modalities={channel.modality: MODALITIES[channel.modality] for channel in manifest.channels},
        spoken=_spoken(structure.name for structure in structures),
        visible=tuple(structure.name for structure in structures if not structure.union_of),
        targets=tuple(structure.name for structure in structures),
    )


def _spoken(names: Iterable[str]) -> dict[str, str]:
    """Names as words; as they are where two would become the same."""
    spoken = {name: " ".join(name.replace("_", " ").split()) for name in names}
    return spoken if len(set(spoken.values())) == len(spoken) else {name: name for name in spoken}
