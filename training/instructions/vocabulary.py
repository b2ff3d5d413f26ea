"""What one bundle's instructions can ask for, and what people call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from training.instructions.hippocampus import HIPPOCAMPUS_FOREIGN, HIPPOCAMPUS_TARGETS
from training.instructions.words import FOREIGN, MODALITIES, TARGETS

__all__ = ["HEAD", "HIPPOCAMPUS", "VOCABULARIES", "Vocabulary"]


@dataclass(frozen=True)
class Vocabulary:
    """Names, those only evaluation uses after `words.HELD_OUT`.

    Attributes:
        targets: Structure of the bundle to how people call it.
        foreign: What the bundle cannot segment.
        modalities: Modality to how people call it.
        findings: Targets that not everybody has, so that a text may deny them.
        sided: Targets of which there are a left and a right one, segmented together.
        unions: Target to the targets it is made of.
    """

    targets: Mapping[str, tuple[str, ...]]
    foreign: tuple[str, ...]
    modalities: Mapping[str, tuple[str, ...]]
    findings: tuple[str, ...] = ()
    sided: tuple[str, ...] = ()
    unions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def overlap(self, name: str, target: str) -> bool:
        """Whether one of two structures is a part of the other."""
        return name in self.unions.get(target, ()) or target in self.unions.get(name, ())


HEAD = Vocabulary(
    TARGETS,
    FOREIGN,
    MODALITIES,
    findings=("lesion", "necrosis", "oedema", "whole_lesion"),
    sided=(
        *("thalamus", "caudate", "putamen_pallidum", "hippocampus_amygdala"),
        *("cerebral_cortex", "cerebellum"),
    ),
    unions={
        "csf": ("sulcal_csf", "outer_csf"),
        "whole_lesion": ("lesion", "necrosis", "oedema"),
        "brain": tuple(name for name in TARGETS if name not in ("head", "outer_csf", "csf")),
    },
)

HIPPOCAMPUS = Vocabulary(
    HIPPOCAMPUS_TARGETS,
    HIPPOCAMPUS_FOREIGN,
    {"MRI": MODALITIES["T1"]},
    sided=tuple(HIPPOCAMPUS_TARGETS),
)

VOCABULARIES: dict[str, Vocabulary] = {"head": HEAD, "hippocampus": HIPPOCAMPUS}
"""By the name a configuration gives."""
