"""What an engine makes of a bundle's golden tile: scores of every target, and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle import Bundle, Target
from runtime.engines.engine import Engine, EngineDescription
from runtime.errors import BundleError
from runtime.kernels import Kernels
from runtime.pipeline import label_values
from runtime.stages.condition import bank_vectors
from runtime.stages.decode import decode
from runtime.stages.encode import encode, encode_with_bottom
from runtime.stages.slide import slide
from runtime.volume import Grid

__all__ = ["Tap", "TileAnswer", "check_features", "golden_image", "tile_answer", "tile_grid"]

_MM = 1.0
"""Voxel size where a bundle keeps the scan's: a tile has none then."""


@dataclass(frozen=True)
class TileAnswer:
    """What came out.

    Attributes:
        scores: Of every target in every voxel, (T, I, J, K); in a bundle with a recipe what the network
            answered, one array after the other.
        labels: Value of the target with the highest score, (I, J, K).
    """

    scores: NDArray[np.float32]
    labels: NDArray[np.uint8]


class Tap:
    """An engine whose first inputs and answers are kept.

    Args:
        engine: What runs; it is closed with this.
        most: How many runs are kept.
    """

    def __init__(self, engine: Engine, most: int) -> None:
        self._engine, self._most = engine, most
        self.inputs: list[dict[str, NDArray[Any]]] = []
        self.answers: list[dict[str, NDArray[Any]]] = []

    @property
    def description(self) -> EngineDescription:
        """What runs."""
        return self._engine.description

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """See `Engine.run`."""
        made = self._engine.run(inputs)
        if len(self.inputs) < self._most:
            self.inputs.append(inputs)
            self.answers.append(made)
        return made

    def __enter__(self) -> Tap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.__exit__(kind, error, trace)


def golden_image(bundle: Bundle) -> NDArray[np.float32]:
    """The golden tile, (channels, I, J, K); a tile of a network of slices gets an axis of one.

    Raises:
        BundleError: It is no array of numbers.
    """
    tile = _array(bundle, bundle.manifest.golden.image)[0]
    return np.ascontiguousarray(tile[:, None] if tile.ndim == 3 else tile)


def check_features(image: NDArray[np.float32], bundle: Bundle, encoder: Engine) -> None:
    """Refuse a reference that does not answer as the bundle says of its golden tile.

    Args:
        image: The golden tile, (channels, I, J, K).
        bundle: The bundle.
        encoder: Its encoder, by the reference.

    Raises:
        BundleError: It does not.
        DeviceError: The device failed.
    """
    golden, given = bundle.manifest.golden, bundle.manifest.encoder.inputs[0]
    wanted = _array(bundle, golden.features)
    batch = np.ascontiguousarray(image[:, 0] if len(given.shape) == 4 else image, np.dtype(given.dtype))[None]
    found = encoder.run({given.name: batch}).get(bundle.manifest.encoder.outputs[0].name)
    if found is None or found.shape != wanted.shape or not np.abs(found - wanted).max() <= golden.tolerance:
        raise BundleError(
            f"{bundle.folder}: the reference differs from what the bundle says of its golden tile; "
            "export it again"
        )


def _array(bundle: Bundle, name: str) -> NDArray[np.float32]:
    path = bundle.path(name)
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.float32)
    except Exception as error:  # a damaged header may raise nearly anything
        raise BundleError(
            f"{path} is no array of numbers ({type(error).__name__}); export it again"
        ) from None


def tile_grid(image: NDArray[np.float32], bundle: Bundle) -> Grid:
    """Where the voxels of the golden tile lie, in millimetres from its corner."""
    spacing = [mm or _MM for mm in bundle.manifest.grid.spacing_mm]
    return Grid((image.shape[1], image.shape[2], image.shape[3]), np.diag([*spacing, 1.0]))


def tile_answer(
    image: NDArray[np.float32], bundle: Bundle, encoder: Engine, decoder: Engine | None, kernels: Kernels
) -> TileAnswer:
    """Show the golden tile to a bundle's networks.

    With instructions every target is decoded from the bank; channels that are 0 all over count as absent.

    Args:
        image: (channels, I, J, K).
        bundle: The bundle.
        encoder: The loaded encoder.
        decoder: The loaded decoder, where the bundle has one.
        kernels: Where to run.

    Raises:
        BundleError: A network answers with something else than its manifest says.
        DeviceError: The device failed.
    """
    manifest, values = bundle.manifest, label_values(bundle)
    if manifest.recipe is not None:
        tap = Tap(encoder, 1 << len(manifest.recipe.mirror))
        maps = slide(image, tap, manifest, manifest.recipe, kernels, _quiet)
        raw = [made[manifest.encoder.outputs[0].name].ravel() for made in tap.answers]
        scores = maps if not manifest.targets[0].vector else _scores(maps, manifest.targets)
        return TileAnswer(np.concatenate(raw).astype(np.float32), values[scores.argmax(axis=0)])
    if manifest.instructions is None or decoder is None:
        scores = _scores(encode(image, encoder, manifest, kernels, _quiet), manifest.targets)
        return TileAnswer(scores, values[scores.argmax(axis=0)])
    features, bottom = encode_with_bottom(image, encoder, manifest, kernels, _quiet)
    present = np.array([bool(channel.any()) for channel in image])
    names = [target.structure for target in manifest.targets[1:]]
    bank = bank_vectors(bundle, names)
    decoded = [
        decode(name, bank[:, n], bottom, present, decoder, manifest).target for n, name in enumerate(names)
    ]
    scores = _scores(features, (manifest.targets[0], *decoded))
    return TileAnswer(scores, values[scores.argmax(axis=0)])


def _scores(features: NDArray[np.float32], targets: Sequence[Target]) -> NDArray[np.float32]:
    vectors = np.array([target.vector for target in targets], np.float32)
    biases = np.array([target.bias for target in targets], np.float32)
    with np.errstate(all="ignore"):  # what overflowed in the network is for the comparison to find
        made = np.tensordot(vectors, features, 1) + biases[:, None, None, None]
    return np.asarray(made, np.float32)


def _quiet(share: float) -> None:
    """Show nothing."""
