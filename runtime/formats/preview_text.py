"""The words of a preview: its font and colours, and what of a text fits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

__all__ = ["AMBER", "BACKGROUND", "DIM", "PANEL", "TEXT"]
__all__ += ["fitting", "font", "shortened", "vertical_text", "wrapped", "write_lines"]

BACKGROUND = (16, 18, 22)
PANEL = (0, 0, 0)
TEXT = (226, 229, 234)
DIM = (138, 145, 156)
AMBER = (255, 184, 77)


@cache
def font(size: int) -> Any:
    """The font of all words, so many pixels high."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def fitting(text: str, size: int, width: int) -> str:
    """The text, its end replaced by dots when it is too long.

    Args:
        text: One line.
        size: Of the font.
        width: Pixels that it may take.
    """
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, size: int, width: int, most_lines: int) -> tuple[str, ...]:
    """The text in lines, broken between words; dots where it goes on after the last line.

    Args:
        text: Words; none of them makes no line.
        size: Of the font.
        width: Pixels that a line may take.
        most_lines: How many there may be.
    """
    words, lines = text.split(), list[str]()
    while words and len(lines) < most_lines - 1:
        count = 1
        while count < len(words) and font(size).getlength(" ".join(words[: count + 1])) <= width:
            count += 1
        lines.append(fitting(" ".join(words[:count]), size, width))
        del words[:count]
    if words:
        lines.append(fitting(" ".join(words), size, width))
    return tuple(lines)


def shortened(lines: Sequence[str], size: int, width: int, most_lines: int) -> tuple[str, ...]:
    """Lines, each cut at the width; of too many, the first ones and how many more there are."""
    shown = lines if len(lines) <= most_lines else lines[: most_lines - 1]
    more = (f"+ {len(lines) - len(shown)} more",) * (len(shown) < len(lines))
    return tuple(fitting(line, size, width) for line in (*shown, *more))


def write_lines(picture: Any, lines: Sequence[str], top_left: tuple[int, int], size: int, step: int) -> None:
    """Write lines below each other, so many pixels apart."""
    from PIL import ImageDraw

    draw, (left, top) = ImageDraw.Draw(picture), top_left
    for number, line in enumerate(lines):
        draw.text((left, top + number * step + step // 2), line, TEXT, font(size), "lm")


def vertical_text(picture: Any, text: str, middle_left: tuple[int, int]) -> None:
    """Write upwards, from bottom to top, around the middle of the left edge."""
    from PIL import Image, ImageDraw

    length = int(font(18).getlength(text)) + 8
    strip = Image.new("RGB", (length, 24), BACKGROUND)
    ImageDraw.Draw(strip).text((length // 2, 12), text, TEXT, font(18), "mm")
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    picture.paste(turned, (middle_left[0], middle_left[1] - length // 2))
