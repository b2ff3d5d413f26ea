"""Write instructions at random, each with what it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator

from training.instructions.noise import nonsense, with_noise
from training.instructions.templates import denied, joined, refused, request, request_beside
from training.instructions.vocabulary import HEAD, Vocabulary
from training.instructions.wordings import Kind, Part, wordings
from training.instructions.words import for_evaluation, for_training

__all__ = ["NO_TARGET", "Instruction", "Writer"]

NO_TARGET = ""
"""Target of a text that asks for nothing this bundle can segment."""

_MENTIONED = {"training": 0.5, "evaluation": 0.2}
"""Share of texts that name something else, too: they are harder, so training has more."""

_NOISY = 0.3
"""Share of training's texts that have words more."""

_FOREIGN_BESIDE = 0.2
"""Share of the other names that are of something foreign."""


@dataclass(frozen=True)
class Instruction:
    """A text and what it means.

    Attributes:
        text: As somebody would write it.
        target: Structure of the bundle it asks for; `NO_TARGET` where it asks for something else.
        denied: It says that the target is not there.
        also: What it asks for as much as for the target; such a text is unclear.
    """

    text: str
    target: str
    denied: bool = False
    also: str | None = None


class Writer:
    """Writes instructions from templates and names of one part: training or evaluation."""

    def __init__(self, part: Part = "training", vocabulary: Vocabulary = HEAD) -> None:
        """Choose the part.

        Args:
            part: "evaluation" uses sentences that training never shows, with names of both parts.
            vocabulary: What can be asked for.
        """
        self._part, self._vocabulary = part, vocabulary

    def write(self, random: Generator, target: str | None = None, modality: str | None = None) -> Instruction:
        """Write one.

        Args:
            random: Where chance comes from.
            target: Structure it asks for, `NO_TARGET` for something foreign; drawn when absent.
            modality: Of the scan it is about; the text may name another one, as people do. Drawn when absent.

        Raises:
            KeyError: There is no such target or modality.
        """
        known = self._vocabulary
        if target is None:
            drawn = int(random.integers(len(known.targets) + 1))
            target = [*known.targets, NO_TARGET][drawn]
        kind = self._kind(target, random)
        template = self._template(kind, random)
        return Instruction(self._filled(template, target, modality, random)[0], target, kind == "absent")

    def write_unclear(self, random: Generator) -> Instruction:
        """Write one that asks for two things alike, or for nothing because it only says what not to do.

        Args:
            random: Where chance comes from.
        """
        known = self._vocabulary
        if random.random() < 0.3:
            target = str(random.choice([name for name in known.targets if name not in known.findings]))
            return Instruction(self._filled(refused(random), target, None, random)[0], target, also=NO_TARGET)
        target = str(random.choice(list(known.targets)))
        template = joined(self._template("asked", random), random)
        text, also = self._filled(template, target, None, random, 0.0)
        return Instruction(text, target, also=also)

    def _filled(
        self,
        template: str,
        target: str,
        modality: str | None,
        random: Generator,
        foreign: float = _FOREIGN_BESIDE,
    ) -> tuple[str, str]:
        """A template with names, and what else it names."""
        known = self._vocabulary
        wrong = modality is None or random.random() < 0.1
        shown = str(random.choice(list(known.modalities))) if wrong or modality is None else modality
        others = [name for name in known.targets if name != target and not known.overlap(name, target)]
        other = NO_TARGET if target and random.random() < foreign else str(random.choice(others))
        text = template.format(
            target=self._called(target, random),
            modality=self._name(known.modalities[shown], random),
            side=self._side(target, random),
            other=self._called(other, random),
        )
        return _as_typed(text, random), other

    def _called(self, target: str, random: Generator) -> str:
        if target == NO_TARGET:
            return self._foreign(random)
        return self._name(self._vocabulary.targets[target], random)

    def _kind(self, target: str, random: Generator) -> Kind:
        if target in self._vocabulary.findings and random.random() < 0.15:
            return "absent"
        share = _MENTIONED[self._part] * (0.6 if target == NO_TARGET else 1.0)
        return "mentioned" if random.random() < share else "asked"

    def _template(self, kind: Kind, random: Generator) -> str:
        if self._part == "training":
            template = {"mentioned": request_beside, "absent": denied}.get(kind, request)(random)
            return with_noise(template, random) if random.random() < _NOISY else template
        return str(random.choice(wordings("evaluation", kind)))

    def _name(self, names: tuple[str, ...], random: Generator) -> str:
        known = for_training(names)
        unseen = () if self._part == "training" else for_evaluation(names)
        name = str(random.choice([*known, *unseen]))
        return name.removeprefix("the ")

    def _foreign(self, random: Generator) -> str:
        """Something else: what has a name, or a word that nobody knows."""
        if self._part == "evaluation" or random.random() < 0.7:
            return self._name(self._vocabulary.foreign, random)
        return " ".join(nonsense(random) for _ in range(int(random.integers(1, 3))))

    def _side(self, target: str, random: Generator) -> str:
        """A word that some write before a paired structure; masks have both sides."""
        if target in self._vocabulary.sided and random.random() < 0.3:
            return str(random.choice(["left ", "right ", "bilateral "]))
        return ""


def _as_typed(text: str, random: Generator) -> str:
    """The text as it may arrive: its first letter, its capitals, a slip of the keyboard."""
    draw = random.random()
    if draw < 0.1:
        return text.upper() if draw < 0.03 else text.lower()
    if draw < 0.2 and len(text) > 12:
        at = int(random.integers(1, len(text) - 2))
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return text[:1].upper() + text[1:] if draw < 0.8 else text
