"""A picture of the result, for people: the scan in three cuts with the structures drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.content import SliceContent
from runtime.errors import UsageError
from runtime.formats.label_values import membership, structure_values
from runtime.formats.output_folder import whole_file
from runtime.formats.preview_planes import (
    PLANES,
    Plane,
    View,
    centre_of,
    content_box,
    cut_labels,
    cut_volume,
    display_window,
)
from runtime.formats.preview_text import (
    AMBER,
    BACKGROUND,
    DIM,
    PANEL,
    TEXT,
    fitting,
    font,
    shortened,
    vertical_text,
    wrapped,
    write_lines,
)
from runtime.structure import Structure
from runtime.volume import Affine, Labels, Volume

__all__ = ["PreviewChannel", "write_preview"]

_FILL, _OUTLINE = 0.30, 0.95
_ROW_PIXELS = (460, 380, 320, 270)
"""Height of the largest panel with one, two, three, and four or more channels."""
_GAP, _EDGE, _HEADER, _TITLES, _FOOTER, _NAMES = 8, 20, 52, 28, 34, 34
_LEGEND_WIDTH, _LEGEND_LINE, _LEGEND_COLUMNS = 264, 24, 3
_CAPTION, _CAPTION_LINE, _CAPTION_LINES, _MOST_NOTES = 13, 18, 3, 6
_MORBID = "49755003"
"""SNOMED CT: morphologically abnormal structure; a lesion is where the reader looks first."""

_Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class PreviewChannel:
    """One row of the picture.

    Attributes:
        name: Shown beside the row; a name that begins with "CT" gets the brain window.
        volume: The image.
        world: RAS+ of the labels to RAS+ of `volume`, (4, 4), when it was registered; else None.
        caption: Shown below the row, in a few lines at most; nothing that says who the patient is.
    """

    name: str
    volume: Volume
    world: Affine | None = None
    caption: str = ""

    @property
    def is_ct(self) -> bool:
        """Whether voxel values are Hounsfield units."""
        return self.name.upper().startswith("CT")


@dataclass(frozen=True)
class _Layer:
    """How one structure is drawn: outlined where `table`, filled where `filled`, both (256,)."""

    structure: Structure
    table: NDArray[np.bool_]
    filled: NDArray[np.bool_]
    volume_ml: float


def write_preview(
    path: Path,
    channels: Sequence[PreviewChannel],
    labels: Labels,
    content: SliceContent,
    structures: Sequence[Structure],
    caption: str,
    notes: Sequence[str] = (),
) -> None:
    """Write a PNG: a row for each channel; axial, coronal and sagittal cuts; a legend with volumes.

    Cuts are planes of the patient (RAS), not of the scanner, in radiological convention and true
    proportions, through the lesion if there is one and through the middle of the labels else.

    Args:
        path: Where to write; an existing file is replaced.
        channels: At least one; the first decides the field of view.
        labels: The label map.
        content: Of `labels`.
        structures: What to draw and to list, in this order. A union whose parts are listed too
            is only outlined.
        caption: One line that names the model.
        notes: Lines below all rows; nothing that says who the patient is.

    Raises:
        UsageError: There is no channel.
        BundleError: Structures and label map do not fit each other.
        DestinationError: The file cannot be written.
    """
    from PIL import Image

    if not channels:
        raise UsageError("a preview needs at least one channel; pass the series that was segmented")
    layers = _layers(labels, content, structures)
    view = _view(channels, labels, layers)
    sizes = [view.size(plane) for plane in PLANES]
    row_height = max(rows for rows, _ in sizes)
    lefts = np.cumsum([_EDGE + _NAMES] + [columns + _GAP for _, columns in sizes]).tolist()
    top = _HEADER + _TITLES
    captions = [wrapped(channel.caption, _CAPTION, _room(lefts), _CAPTION_LINES) for channel in channels]
    heights = [row_height + len(lines) * _CAPTION_LINE + _GAP for lines in captions]
    tops = np.cumsum([top, *heights]).tolist()
    noted = shortened(notes, _CAPTION, _room(lefts), _MOST_NOTES)
    bottom = tops[-1] + len(noted) * _CAPTION_LINE
    legend_columns = _legend_columns(len(layers), bottom - top)
    right = lefts[-1] + _EDGE + legend_columns * _LEGEND_WIDTH
    picture = Image.new("RGB", (max(right, 900), bottom + _FOOTER), BACKGROUND)
    cuts = [cut_labels(labels, plane, view) for plane in PLANES]
    for channel, lines, y in zip(channels, captions, tops, strict=False):
        window = display_window(channel.volume, channel.is_ct)
        for plane, cut, left in zip(PLANES, cuts, lefts, strict=False):
            grey = _grey(cut_volume(channel.volume, channel.world, plane, view), window)
            panel = Image.new("RGB", (cut.shape[1], row_height), PANEL)
            panel.paste(Image.fromarray(_painted(grey, cut, layers)), (0, (row_height - cut.shape[0]) // 2))
            _annotate(panel, plane)
            picture.paste(panel, (left, y))
        vertical_text(picture, channel.name, (_EDGE, y + row_height // 2))
        write_lines(picture, lines, (lefts[0], y + row_height), _CAPTION, _CAPTION_LINE)
    write_lines(picture, noted, (lefts[0], tops[-1]), _CAPTION, _CAPTION_LINE)
    _frame_text(picture, caption, lefts)
    _scale_bar(picture, (lefts[0], bottom + 6), view.pixels_per_mm)
    _legend(picture, layers, (lefts[-1] + _EDGE, _HEADER), bottom)
    with whole_file(path) as part:
        picture.save(part, format="PNG", compress_level=4)


def _layers(labels: Labels, content: SliceContent, structures: Sequence[Structure]) -> list[_Layer]:
    counts = content.counts.sum(axis=0)
    tables = [membership(structure_values(item, labels, structures)) for item in structures]
    claimed = np.zeros(256, np.bool_)
    for item, table in zip(structures, tables, strict=True):
        if not item.union_of:
            claimed |= table
    layers = []
    for item, table in zip(structures, tables, strict=True):
        filled = table & ~claimed if item.union_of else table
        claimed |= table
        layers.append(_Layer(item, table, filled, float(counts[table].sum()) * labels.grid.voxel_volume_ml))
    return layers


def _view(channels: Sequence[PreviewChannel], labels: Labels, layers: Sequence[_Layer]) -> View:
    first = channels[0]
    low_mm, high_mm = content_box(first.volume, first.world, first.is_ct)
    lesion = membership(()) | np.any(
        [la.table for la in layers if la.structure.category.value == _MORBID], axis=0
    )
    anything = membership(range(1, 256))
    centre_mm = centre_of(labels, lesion)
    if centre_mm is None:
        centre_mm = centre_of(labels, anything)
    if centre_mm is None:
        centre_mm = (low_mm + high_mm) / 2
    low_mm, high_mm = np.minimum(low_mm, centre_mm - 10), np.maximum(high_mm, centre_mm + 10)
    height = _ROW_PIXELS[min(len(channels), len(_ROW_PIXELS)) - 1]
    return View(centre_mm, low_mm, high_mm, height / float((high_mm - low_mm).max()))


def _grey(values: NDArray[np.float32], window: tuple[float, float]) -> _Picture:
    low, high = window
    scaled = np.nan_to_num((values - np.float32(low)) / np.float32(high - low), nan=0.0)
    return np.asarray(np.clip(scaled, 0, 1) * 255, np.uint8)


def _painted(grey: _Picture, cut: NDArray[np.uint8], layers: Sequence[_Layer]) -> _Picture:
    """Draw structures over grey values; (rows, columns, 3)."""
    picture = np.repeat(grey[:, :, np.newaxis], 3, axis=2).astype(np.float32)
    for layer in layers:
        _blend(picture, layer.filled[cut], layer.structure.colour, _FILL)
    for layer in layers:
        _blend(picture, _rim(layer.table[cut]), layer.structure.colour, _OUTLINE)
    return picture.astype(np.uint8)


def _blend(
    picture: NDArray[np.float32], mask: NDArray[np.bool_], colour: tuple[int, int, int], opacity: float
) -> None:
    picture[mask] = picture[mask] * (1 - opacity) + np.array(colour, np.float32) * opacity


def _rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask with a neighbour outside it."""
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inner)


def _annotate(panel: Any, plane: Plane) -> None:
    """Orientation letters at the four edges."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(panel)
    columns, rows = panel.size
    left, right, top, bottom = plane.letters
    places = {left: ((6, rows // 2), "lm"), right: ((columns - 6, rows // 2), "rm")}
    places |= {top: ((columns // 2, 5), "mt"), bottom: ((columns // 2, rows - 5), "mb")}
    for letter, (place, anchor) in places.items():
        draw.text(place, letter, TEXT, font(15), anchor, stroke_width=2, stroke_fill=PANEL)
    mark = "RESEARCH USE ONLY" if columns >= 230 else "RESEARCH"
    draw.text((columns - 6, rows - 5), mark, DIM, font(10), "rb", stroke_width=1, stroke_fill=PANEL)


def _frame_text(picture: Any, caption: str, lefts: Sequence[int]) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    draw.rectangle((0, 0, width, 2), fill=AMBER)
    draw.text((_EDGE, _HEADER // 2 + 2), "Zeus Edge", TEXT, font(22), "lm")
    draw.text((width - _EDGE, _HEADER // 2 + 2), "RESEARCH USE ONLY", AMBER, font(18), "rm")
    for plane, left, following in zip(PLANES, lefts, lefts[1:], strict=False):
        middle = (left + following - _GAP) // 2
        draw.text((middle, _HEADER + _TITLES // 2), plane.name, DIM, font(15), "mm")
    room = width - 3 * _EDGE - 160
    draw.text((width - _EDGE, height - _FOOTER // 2), fitting(caption, 13, room), DIM, font(13), "rm")


def _room(lefts: Sequence[int]) -> int:
    """Pixels that a caption has: the width of a row's panels."""
    return lefts[-1] - _GAP - lefts[0]


def _scale_bar(picture: Any, top_left: tuple[int, int], pixels_per_mm: float) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    left, top = top_left
    right = left + round(50 * pixels_per_mm)
    draw.line((left, top + 8, right, top + 8), fill=DIM, width=2)
    for end in (left, right):
        draw.line((end, top + 4, end, top + 12), fill=DIM, width=2)
    draw.text((right + 8, top + 8), "5 cm", DIM, font(13), "lm")


def _legend_columns(entries: int, height: int) -> int:
    lines = max(1, height // _LEGEND_LINE)
    return min(_LEGEND_COLUMNS, max(1, -(-entries // lines)))


def _legend(picture: Any, layers: Sequence[_Layer], top_left: tuple[int, int], bottom: int) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    left, top = top_left
    first = top + _TITLES
    lines = max(1, (bottom - first) // _LEGEND_LINE)
    room = lines * _legend_columns(len(layers), bottom - first)
    shown = layers if len(layers) <= room else layers[: room - 1]
    draw.text((left, top + _TITLES // 2), "structure", DIM, font(15), "lm")
    draw.text((left + _LEGEND_WIDTH - _EDGE, top + _TITLES // 2), "ml", DIM, font(15), "rm")
    for entry, layer in enumerate(shown):
        x = left + entry // lines * _LEGEND_WIDTH
        y = first + entry % lines * _LEGEND_LINE + _LEGEND_LINE // 2
        found = layer.volume_ml > 0
        colour = layer.structure.colour
        fill = colour if found and layer.filled.any() else None
        draw.rounded_rectangle((x, y - 7, x + 14, y + 7), 3, fill=fill, outline=colour, width=2)
        name = fitting(layer.structure.name, 15, _LEGEND_WIDTH - _EDGE - 84)
        draw.text((x + 24, y), name, TEXT if found else DIM, font(15), "lm")
        volume = f"{layer.volume_ml:.{1 if layer.volume_ml < 100 else 0}f}" if found else "none"
        draw.text((x + _LEGEND_WIDTH - _EDGE, y), volume, TEXT if found else DIM, font(15), "rm")
    if len(shown) < len(layers):
        x, y = left + (room - 1) // lines * _LEGEND_WIDTH, first + (room - 1) % lines * _LEGEND_LINE
        draw.text((x, y + _LEGEND_LINE // 2), f"+ {len(layers) - len(shown)} more", DIM, font(15), "lm")
