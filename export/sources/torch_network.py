"""A torch network that sees one tile, as ONNX and as the answer that the ONNX must give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from export.graph import slim, write_model
from export.model import Answer, Description
from export.onnx_parts import part_program

__all__ = ["Mean", "answer_of", "write_network"]


class Mean(nn.Module):
    """The mean of what several networks answer: an ensemble in one graph."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The mean answer."""
        total: torch.Tensor = self.networks[0](image)
        for network in self.networks[1:]:
            total = total + network(image)
        return total / len(self.networks)


def write_network(network: nn.Module, described: Description, path: Path) -> Path:
    """Write a network in evaluation mode as ONNX, `image` to `scores`, for one tile at a time."""
    example = torch.zeros(1, len(described.channels), *described.sides)
    write_model(slim(part_program(network, {"image": example}, ["scores"], [{}])), path)
    return path


def answer_of(network: nn.Module) -> Answer:
    """What torch answers."""

    def answer(tile: NDArray[np.float32]) -> NDArray[Any]:
        with torch.inference_mode():
            made: NDArray[Any] = network(torch.from_numpy(tile)).numpy()
        return made

    return answer
