"""Texts that tokenizers disagree about, if they do: what a report holds, spaces, digits, scripts, symbols."""

from __future__ import annotations

import random

__all__ = ["PROMPT", "texts"]

PROMPT = (
    "The scan of the head shows a bright rim around a dark core in the left frontal lobe. There is oedema in "
    "the white matter, the ventricles are not enlarged, and the midline lies where it should. Which "
    "structure should be outlined next, and in which of the four series is it seen best?"
)
"""What a model answers to be compared; no right answer is expected."""

_TEXTS = (
    "The lesion measures 12.5 x 7 mm.",
    "T1, T2 and FLAIR; CT without contrast.",
    " a leading space",
    "a trailing space ",
    "two  spaces,   three    four",
    "\ttabs\t\tand\n\nlines\r\nof both kinds\n \n",
    "It's the patient's; we'll, I'd, they've, you're, I'm, can't",
    "IT'S THE PATIENT'S; WE'LL, I'D, THEY'VE",
    "1 12 123 1234 12345 2026-11-29 3.14159",
    "x=1;y+=2//3 if(a[i]!=b){return c->d;}",
    "<p>nodule</p> {<29><43><42><56>}",
    "na\u00efve caf\u00e9 \u00fcber \u00e5ngstr\u00f6m \u0153dema",
    "\u043e\u0447\u0430\u0433 \u0432 \u043b\u0435\u0432\u043e\u043c \u043b\u0435\u0433\u043a\u043e\u043c",
    "\u5de6\u80ba\u7d50\u7bc0 \u3068 \u80f8\u6c34\u3001\ud3d0\ub834",
    "\u0648\u0631\u0645 \u0641\u064a \u0627\u0644\u0631\u0626\u0629",
    "\u0935\u0940\u0915\u094d\u0937\u0923",
    "\u03b1\u03b2\u03b3 \u00b5m \u00b0C \u00b1 \u2264 \u2265 \u2248 \u2192",
    "\U0001f9e0\U0001fa7b emoji\U0001f44d\U0001f3fd!",
    "\u2014 dashes \u2013 and \u201cquotes\u201d \u2026",
    "snake_case camelCase HTTPServer v2.0-rc1",
    "a\u00a0no-break space and\u2003an em space",
    "...!!??---___***###",
    "Mid-line shift>5mm?(yes/no):",
    "\n",
    "   ",
    "a",
)
_LETTERS = (
    "aabcdeefghiilmnoorsttuvwxyzABCDEFGXYZ0123456789      \n\t.,;:!?'\"-_()/[]{}<>=+*&%$#@"
    "\u00e9\u00e4\u0436\u4e2d"
)
_RANDOM, _LONGEST = 200, 60


def texts() -> list[str]:
    """The texts above, and drawn ones, the same every time."""
    draw = random.Random(7)
    drawn = ["".join(draw.choices(_LETTERS, k=draw.randint(1, _LONGEST))) for _ in range(_RANDOM)]
    return [*_TEXTS, PROMPT, *drawn]
