"""Label maps as DICOM Segmentation on the source series' own slices."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.content import SliceContent, hash_beside, slice_content
from runtime.errors import ImageError
from runtime.formats.label_values import membership, structure_values
from runtime.formats.output_folder import whole_file
from runtime.formats.seg_describe import MAKER, describe_segment, identify_algorithm, long_string
from runtime.formats.seg_file import write_file
from runtime.formats.seg_frames import PackedFrames, frame_headers
from runtime.formats.seg_source import SegSource, derived_uid, read_source
from runtime.kernels import Kernels, open_kernels
from runtime.structure import ModelIdentity, Structure
from runtime.study import Series
from runtime.volume import Labels

__all__ = ["SegOptions", "SegWritten", "write_seg"]

_MOST_PIXEL_BYTES = 2**32 - 2


@dataclass(frozen=True)
class SegOptions:
    """What the caller may choose about a SEG.

    Attributes:
        series_number: SeriesNumber of the SEG.
        parameters: More algorithm parameters for the record; never a text that a person typed.
        omit_empty_frames: Leave out frames without a voxel. The standard allows it and the file
            is several times smaller; every frame carries its own position and names its source
            slice. Old viewers (OHIF 2, some 3.x) count frames instead of reading positions and
            show the mask shifted (MONAI Deploy App SDK issue 397): give them False.
        created: Creation time; now when None. A fixed time makes the file itself reproducible.
        unqualified: Say in the descriptions of series and content that the engine was not qualified.
    """

    series_number: int = 9100
    parameters: Mapping[str, str] = field(default_factory=dict)
    omit_empty_frames: bool = True
    created: datetime | None = None
    unqualified: bool = False


@dataclass(frozen=True)
class SegWritten:
    """What became of each structure.

    Attributes:
        segment_numbers: Structure name to segment number; empty when no structure has a voxel,
            and then no file was written: a SEG must have a segment.
        empty: Names of structures without a voxel.
        series_uid: SeriesInstanceUID of the SEG.
        instance_uid: SOPInstanceUID of the SEG; None when no file was written.
        notes: Assumptions about the source's headers, for the report; no patient data.
    """

    segment_numbers: dict[str, int]
    empty: tuple[str, ...]
    series_uid: str
    instance_uid: str | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Segment:
    """A structure that has voxels: its number, look-up table (256,) and the slices it is in."""

    number: int
    structure: Structure
    table: NDArray[np.bool_]
    slices: NDArray[np.bool_]


def write_seg(
    path: Path,
    labels: Labels,
    series: Series,
    structures: Sequence[Structure],
    identity: ModelIdentity,
    options: SegOptions | None = None,
    kernels: Kernels | None = None,
) -> SegWritten:
    """Write structures as one DICOM SEG of type BINARY; unions overlap their parts.

    The same run twice gives the same UIDs: the series UID follows from the source series, the
    bundle, the structures and the product version; the instance UID also from the parameters and
    from every voxel, so that it never names two different contents. Tracking UIDs follow from
    the study and the structure.

    Args:
        path: Where to write; an existing file is replaced.
        labels: Label map on the grid of `series`.
        series: The DICOM series that was segmented.
        structures: Segments in this order; those without a voxel are left out.
        identity: Which model made the labels.
        options: See `SegOptions`.
        kernels: Where to pack pixels; the CPU when absent.

    Raises:
        ImageError: The labels do not lie on the series, its headers cannot carry a SEG, or its
            pixels would not fit into one (4 GB).
        BundleError: Structures and label map do not fit each other.
        DestinationError: The file cannot be written.

    Source:
        DICOM PS3.3 A.51 and C.8.20 (Segmentation IOD), PS3.16 CID 7150, 7151 and 7162.
    """
    chosen = options or SegOptions()
    if not labels.grid.same_place_as(series.volume.grid, tolerance_mm=1e-2):
        raise ImageError(
            f"series {series.uid}: the labels ({labels.voxels.shape}) do not lie on its slices "
            f"({series.volume.voxels.shape}); map them back to the series before writing"
        )
    kernels = kernels or open_kernels()
    content = slice_content(labels.voxels, kernels)
    segments, empty = _segments(labels, structures, content, chosen.omit_empty_frames)
    series_uid = _series_uid(series, structures, identity, chosen.unqualified)
    if not segments:
        return SegWritten({}, empty, series_uid, None)
    digest = hash_beside(labels.voxels, content)  # it takes as long as the headers
    with warnings.catch_warnings():
        # The source's malformed values are copied as they are; a warning would quote patient data.
        warnings.simplefilter("ignore")
        source = read_source(series)
        made = _make(source, segments, series_uid, identity, chosen)
        template, ranks, frames = _frames(made, source, segments)
        tables = np.array([segment.table for segment in segments], np.uint8)
        pixels = PackedFrames(labels.voxels, content, tables, frames, kernels)
        if pixels.bytes > _MOST_PIXEL_BYTES:
            raise ImageError(
                f"series {series.uid}: a SEG of {len(frames)} frames is too large; ask for fewer targets"
            )
        made.Rows, made.Columns = labels.voxels.shape[1:]
        made.NumberOfFrames = len(frames)
        made.SegmentsOverlap = "YES" if tables.sum(axis=0).max() > 1 else "NO"
        made.PatientName = series.instances[0].header.get("PatientName") or ""
        instance_uid = _seal(made, series_uid, digest(), tables, chosen)
        with whole_file(path) as part:
            write_file(part, made, source, frame_headers(template, source.slices, ranks, frames), pixels)
    numbers = {segment.structure.name: segment.number for segment in segments}
    return SegWritten(numbers, empty, series_uid, instance_uid, source.notes)


def _segments(
    labels: Labels, structures: Sequence[Structure], content: SliceContent, omit_empty_frames: bool
) -> tuple[list[_Segment], tuple[str, ...]]:
    segments: list[_Segment] = []
    empty = []
    for structure in structures:
        table = membership(structure_values(structure, labels, structures))
        slices = np.asarray((content.counts[:, table] > 0).any(axis=1))
        if slices.any():
            kept = slices if omit_empty_frames else np.ones_like(slices)
            segments.append(_Segment(len(segments) + 1, structure, table, kept))
        else:
            empty.append(structure.name)
    return segments, tuple(empty)


def _series_uid(
    series: Series, structures: Sequence[Structure], identity: ModelIdentity, unqualified: bool
) -> str:
    names = [*(structure.name for structure in structures), *(["unqualified"] * unqualified)]
    return derived_uid("seg", series.uid, identity.bundle_sha256, identity.product_version, *names)


def _make(
    source: SegSource,
    segments: list[_Segment],
    series_uid: str,
    identity: ModelIdentity,
    options: SegOptions,
) -> Any:
    """Let highdicom write the headers from the first slice and the first and last that have a frame.

    Its cost is per slice, per frame and per pixel: every slice and frame is put in by `write_file`.
    """
    import highdicom

    used = _used(segments)
    shown = sorted({0, int(used[0]), int(used[-1])})
    sources = source.stand_ins(shown)
    presence = np.zeros((len(shown), 1, 1, len(segments)), np.bool_)
    presence[shown.index(used[0])] = True
    presence[shown.index(used[-1]), ..., 0] = True
    algorithm = identify_algorithm(identity, options.parameters)
    created, doubt = options.created or datetime.now(), options.unqualified
    try:
        return highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=presence,
            segmentation_type="BINARY",
            segment_descriptions=[
                describe_segment(segment.number, segment.structure, sources[0].StudyInstanceUID, algorithm)
                for segment in segments
            ],
            series_instance_uid=series_uid,
            series_number=options.series_number,
            sop_instance_uid=series_uid,  # replaced when the content is known
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MAKER,
            software_versions=long_string(identity.product_version),
            device_serial_number=long_string(identity.bundle_sha256),
            omit_empty_frames=options.omit_empty_frames,
            content_label="RESEARCH_USE",
            content_description=f"Automatic segmentation. {'UNQUALIFIED ENGINE. ' * doubt}RESEARCH USE ONLY",
            content_qualification="RESEARCH",
            series_description=long_string(
                f"RESEARCH USE {'UNQUALIFIED ' * doubt}{MAKER} {identity.name} {identity.version}"
            ),
            series_date=created.date(),
            series_time=created.time(),
            content_date=created.date(),
            content_time=created.time(),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ImageError(
            f"series {sources[0].SeriesInstanceUID}: its headers cannot carry a DICOM SEG ({error}); "
            "ask for NIfTI output instead"
        ) from error


def _used(segments: list[_Segment]) -> NDArray[np.intp]:
    """Slices that have a frame, ascending."""
    return np.flatnonzero(np.any([segment.slices for segment in segments], axis=0))


def _frames(
    made: Any, source: SegSource, segments: list[_Segment]
) -> tuple[Any, dict[int, int], list[tuple[int, int]]]:
    """Take the few frames out, and list the real ones in the standard's order.

    Returns:
        One frame's item as a template; the rank of each slice that has a frame; slice and segment
        number of every frame.
    """
    items = made.PerFrameFunctionalGroupsSequence
    slice_of = {one.instance_uid: index for index, one in enumerate(source.slices)}

    def rank_and_slice(item: Any) -> tuple[int, int]:
        made_from = item.DerivationImageSequence[0].SourceImageSequence[0]
        rank = item.FrameContentSequence[0].DimensionIndexValues
        return int(rank if isinstance(rank, int) else rank[-1]), slice_of[made_from.ReferencedSOPInstanceUID]

    shown = [rank_and_slice(item) for item in items[:3]]  # those of the first segment are among them
    first, last = min(shown), max(shown)
    used = [int(index) for index in _used(segments)]
    if first[1] > last[1]:
        used.reverse()
    ranks = {index: rank for rank, index in enumerate(used, start=1)}
    frames = [(index, s.number) for s in segments for index in used if s.slices[index]]
    template = items[0]
    if "DimensionOrganizationType" in made:
        del made.DimensionOrganizationType  # told from the few slices
    if len(segments) == 1 and source.is_volume([index for index, _ in frames]):
        made.DimensionOrganizationType = "3D"
    del made.PerFrameFunctionalGroupsSequence, made.PixelData
    return template, ranks, frames


def _seal(made: Any, series_uid: str, content: Any, tables: NDArray[np.uint8], options: SegOptions) -> str:
    """Give every identifier that highdicom draws at random its reproducible value.

    `content` is the hash of the labels.
    """
    content.update(tables.tobytes())
    content.update(
        made.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters.encode()
    )
    content.update(str(made.NumberOfFrames).encode())
    instance_uid = derived_uid("seg instance", series_uid, content.hexdigest())
    made.SOPInstanceUID = instance_uid
    made.file_meta.MediaStorageSOPInstanceUID = instance_uid
    organization_uid = derived_uid("dimension organization", instance_uid)
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = organization_uid
    if options.created is not None:
        made.InstanceCreationDate = made.ContentDate
        made.InstanceCreationTime = made.ContentTime
        for item in made.get("ContributingEquipmentSequence", ()):
            item.ContributionDateTime = options.created
    return instance_uid
