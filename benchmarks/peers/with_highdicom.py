"""highdicom alone: the whole label map handed to its Segmentation, as its manual shows."""

from __future__ import annotations

from typing import Any

from benchmarks.comparison import Run
from benchmarks.tasks import PackTask
from runtime.formats.seg_describe import MAKER, describe_segment, identify_algorithm

__all__ = ["pack"]


def pack(task: PackTask) -> Run:
    """Segmentation from the label map, then save_as."""
    import highdicom
    from pydicom.uid import ExplicitVRLittleEndian

    sources: list[Any] = [instance.header for instance in task.series.instances]
    path = task.folder / "highdicom.dcm"

    def run() -> object:
        algorithm = identify_algorithm(task.identity, {})
        made = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=task.labels.voxels,
            segmentation_type="BINARY",
            segment_descriptions=[
                describe_segment(structure.value, structure, sources[0].StudyInstanceUID, algorithm)
                for structure in task.structures
            ],
            series_instance_uid=highdicom.UID(),
            series_number=1,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MAKER,
            software_versions=task.identity.product_version,
            device_serial_number="0",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            omit_empty_frames=True,
        )
        made.save_as(path)
        return path

    return run
