"""What every fusion of modalities promises, whatever the network."""

from __future__ import annotations

from typing import Any

__all__ = ["missing_modalities_have_no_say"]


def missing_modalities_have_no_say(network: Any, study: tuple[Any, Any, Any]) -> None:
    """Noise in the images and conditions of modalities that are not present changes nothing.

    Args:
        network: Called with images, presence and conditions.
        study: Those three; overwritten.
    """
    import torch

    image, present, condition = study
    expected = network(image, present, condition)
    image[~present] = torch.randn_like(image[~present]) * 50
    condition[~present] = torch.randn_like(condition[~present]) * 50
    for found, wanted in zip(network(image, present, condition), expected, strict=True):
        torch.testing.assert_close(found, wanted)
