"""Ask a trained network for masks: a study is encoded once, then answers as many requests as there are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from runtime.kernels import Kernels
from runtime.stages.label import label
from training.augment import centred
from training.labelled.samples import Sample
from training.networks.conditioned import Conditioned
from training.networks.nano import PlainUNet

__all__ = ["Study", "labels_of"]


class Study:
    """One case, encoded."""

    def __init__(self, network: Conditioned | PlainUNet, sample: Sample, least: tuple[int, int, int]) -> None:
        """Encode it.

        Args:
            network: In evaluation mode.
            sample: The case.
            least: Shape of training's patches: smaller images are padded to it, as there, and every side
                to a number that the network can halve.
        """
        self._network = network
        halved = 2 ** (len(network.config.widths) - 1)
        sides = [-(-max(n, m) // halved) * halved for n, m in zip(sample.labels.shape, least, strict=True)]
        image, place = centred(torch.from_numpy(sample.image)[None], (sides[0], sides[1], sides[2]))
        self._cut = (0, slice(None), *place)
        self._present = torch.from_numpy(sample.present)[None]
        with torch.inference_mode():
            if isinstance(network, PlainUNet):
                self._scores = network(image, self._present).voxels
            else:
                self._features, self._bottom = network.zeus.encode(image, self._present)

    def ask(self, condition: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score targets.

        Args:
            condition: (M, T, condition); a plain U-Net does not hear it.

        Returns:
            Scores (1 + T, I, J, K) on the sample's grid, the background's first, and presence (T,),
            log-odds, of which a plain U-Net has none.
        """
        if isinstance(self._network, PlainUNet):
            return np.ascontiguousarray(self._scores[self._cut].numpy()), np.zeros(0, np.float32)
        with torch.inference_mode():
            masks = self._network.zeus.decode(self._bottom, condition[None], self._present)
            scores = F.pad(masks.scores(self._features), (0, 0, 0, 0, 0, 0, 1, 0))
        return np.ascontiguousarray(scores[self._cut].numpy()), masks.presence[0].numpy()


def labels_of(scores: NDArray[np.float32], sample: Sample, kernels: Kernels) -> NDArray[np.uint8]:
    """Labels on the voxels of the truth, by the runtime's kernel.

    Args:
        scores: (1 + T, I, J, K) on the sample's grid.
        sample: The case.
        kernels: Where to run.
    """
    values = np.arange(len(scores), dtype=np.uint8)
    return label(scores, sample.grid, sample.truth.grid, values, kernels)
