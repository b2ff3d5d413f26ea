"""The network that looks at a series and writes an instruction for it, a word at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from training.networks.writer_language import Kept, LanguageConfig, LanguageModel
from training.networks.writer_vision import VisionConfig, VisionEncoder

__all__ = ["WriterNetwork", "WriterSize"]


@dataclass(frozen=True)
class WriterSize:
    """Size of the network; the vocabulary follows from the sentences.

    Attributes:
        vision: Of the encoder.
        width: Of the language model.
        layers: Of the language model.
        heads: Of each of its attentions.
        hidden: Of each of its feed-forward networks.
        context: Tokens that it can be given.
    """

    vision: VisionConfig = field(default_factory=VisionConfig)
    width: int = 192
    layers: int = 4
    heads: int = 6
    hidden: int = 512
    context: int = 256

    def language(self, vocabulary: int) -> LanguageConfig:
        """The language model's size for so many tokens."""
        return LanguageConfig(vocabulary, self.width, self.layers, self.heads, self.hidden, self.context)


class WriterNetwork(nn.Module):
    """Vision encoder and language model.

    Its `facts`, for what is asked of the visual tokens directly, are for training alone: nobody exports them.
    """

    def __init__(self, size: WriterSize, vocabulary: int, facts: int) -> None:
        """Build it with random weights.

        Args:
            size: Of its parts.
            vocabulary: Tokens.
            facts: How many numbers say what the visual tokens are asked for directly.
        """
        super().__init__()
        self.facts = nn.Linear(size.width, facts)
        self.language = LanguageModel(size.language(vocabulary))
        self.vision = VisionEncoder(size.vision, size.width)

    def rows(self, visual: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Embeddings of a prompt and what follows.

        Args:
            visual: (N, visual tokens, width).
            before: (B,) token ids before the image.
            after: (N, A) token ids after it.

        Returns:
            (N, B + visual tokens + A, width).
        """
        table = self.language.token_embd
        first = table(before).expand(len(visual), -1, -1)
        return torch.cat([first.to(visual.dtype), visual, table(after).to(visual.dtype)], dim=1)

    def forward(self, views: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """What is said after the image, and what the image says directly.

        Args:
            views: (N, V, size, size), 0 to 1.
            before: (B,) token ids before the image.
            after: (N, A) token ids after it, the first of them the end of the prompt.

        Returns:
            Logits after each of these tokens (N, A, vocabulary), and those of the facts (N, facts).
        """
        visual = self.vision(views)
        logits = self.language(self.rows(visual, before, after), after.shape[1])
        return logits, self.facts(visual.float().mean(1))

    @torch.inference_mode()
    def write(
        self, visual: Tensor, before: Tensor, after: Tensor, end: int, most: int = 77
    ) -> list[list[int]]:
        """The likeliest token again and again.

        Args:
            visual: (N, visual tokens, width), of pictures.
            before: (B,) token ids before the image.
            after: (A,) token ids between image and answer.
            end: The token after which nothing follows.
            most: Tokens of an answer.

        Returns:
            Token ids of each answer, without `end`.
        """
        kept: list[Kept] = [[] for _ in self.language.blk]
        rows, written = self.rows(visual, before, after.expand(len(visual), -1)), []
        for _ in range(most):
            found = self.language(rows, 1, kept)[:, -1].argmax(-1)
            written.append(found)
            rows = self.language.token_embd(found)[:, None]
            if bool((torch.stack(written) == end).any(0).all()):
                break
        answers = torch.stack(written, dim=1).tolist()
        return [row[: row.index(end)] if end in row else row for row in answers]
