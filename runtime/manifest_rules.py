"""The rules a bundle's manifest obeys beyond its types; nothing in it is believed."""

from __future__ import annotations

import re

from runtime.manifest import Channel, Instructions, Manifest, Network, Vocabulary, WriterModel
from runtime.recipe_rules import check_recipe
from runtime.schema import SchemaError
from runtime.structure import Code, Structure

__all__ = ["check_manifest"]

_FEATURES = 4096
_CLASSES = 255
_TILE_VOXELS = 1 << 26
_LARGEST_WEIGHT = 1e6
"""Of a mask vector: scores must stay far from the end of float32."""

_MOST_TOKENS = 512

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,31}")
_CODE_TEXT, _MEANING_TEXT = 16, 64  # DICOM's SH and LO

_WORDS = re.compile(r"(?!.*\band the\b)[A-Za-z0-9_-]+( [A-Za-z0-9_-]+)*")
"""Spoken names: commas, stops and "and the" stand between them."""
_LONGEST_WORDS = 48
_LONGEST_NAME = 128
_MOST_NAMES = 128
_MOST_WRITTEN_TOKENS = 1024
_LARGEST_VIEW = 1024


def _require(true: bool, message: str) -> None:
    if not true:
        raise SchemaError(message)


def check_manifest(manifest: Manifest) -> None:
    """What types cannot say: names are unique and fit for files, references resolve, sizes are sane.

    Raises:
        SchemaError: A rule is broken; the message gives the path to it.
    """
    _require(bool(_NAME.fullmatch(manifest.name)), "$.name: use letters, digits, _ and -, 64 at most")
    _require(bool(_VERSION.fullmatch(manifest.version)), "$.version: use letters, digits, . and -")
    _check_structures(manifest.structures)
    names = {structure.name for structure in manifest.structures}
    known = manifest.recipe is not None or "brain" in names
    _require(known, '$.structures: none is called "brain", by which a scan is known for a head')
    _require(set(manifest.connected) <= names, "$.connected: a name is no structure")
    _check_targets(manifest)
    _check_channels(manifest.channels)
    _check_encoder(manifest)
    check_recipe(manifest)
    if manifest.vocabulary is not None:
        _check_vocabulary(manifest.vocabulary, manifest)
    if manifest.writer is not None:
        _require(manifest.vocabulary is not None, "$.writer: needs a vocabulary")
        _check_writer(manifest.writer)
    files = {entry.path for entry in manifest.files}
    _require(len(files) == len(manifest.files), "$.files: a path appears twice")
    for name in _named_files(manifest):
        _require(name in files, f"$.files: {name!r} is named but not listed")
    _require(manifest.golden.tolerance > 0, "$.golden: tolerance is not above 0")
    for modality in manifest.golden.study:
        shown = modality in [channel.modality for channel in manifest.channels]
        _require(shown, f"$.golden.study: {modality!r} is shown by no channel")


def _named_files(manifest: Manifest) -> tuple[str, ...]:
    golden = manifest.golden
    networks, others = [manifest.encoder], [golden.image, golden.features, *golden.study.values()]
    if given := manifest.instructions:
        networks += [given.decoder, given.text.network]
        others += [given.text.tokenizer, given.bank]
    if writer := manifest.writer:
        networks.append(writer.vision)
        others += [writer.model, writer.prompt]
    weights = [network.weights for network in networks if network.weights]
    return (*(network.file for network in networks), *weights, *others)


def _check_structures(structures: tuple[Structure, ...]) -> None:
    names = [structure.name for structure in structures]
    values = [structure.value for structure in structures]
    _require(len(set(names)) == len(names) > 0, "$.structures: names are not unique")
    _require(len(set(values)) == len(values), "$.structures: values are not unique")
    _require(all(1 <= value <= 255 for value in values), "$.structures: a value is outside 1…255")
    single = {structure.name for structure in structures if not structure.union_of}
    for structure in structures:
        name, parts = structure.name, structure.union_of
        # A union is written to a file of its name beside labels.nii.gz.
        fits = _NAME.fullmatch(name) is not None and name.lower() != "labels"
        _require(fits, f"$.structures: {name!r} cannot name a file; use letters, digits, _ and -")
        _require(set(parts) <= single, f"$.structures: {name} is made of unknown parts")
        _require(len(set(parts)) == len(parts), f"$.structures: a part of {name} appears twice")
        _require(all(0 <= c <= 255 for c in structure.colour), f"$.structures: colour of {name}")
        for code in (structure.category, structure.kind):
            _require(_is_code(code), f"$.structures: a code of {name} is empty or too long for DICOM")


def _is_code(code: Code) -> bool:
    short = all(0 < len(text) <= _CODE_TEXT for text in (code.value, code.scheme))
    return short and 0 < len(code.meaning) <= _MEANING_TEXT


def _check_targets(manifest: Manifest) -> None:
    single = {structure.name for structure in manifest.structures if not structure.union_of}
    names = [target.structure for target in manifest.targets]
    _require(len(set(names)) == len(names), "$.targets: a structure has two vectors")
    _require(names[:1] == [""], "$.targets: the first one must be the background")
    _require(set(names[1:]) == single, "$.targets: not one vector for every structure")
    _require(len(names) <= _CLASSES, f"$.targets: more than {_CLASSES}")
    static = manifest.targets if manifest.instructions is None else manifest.targets[:1]
    features = {len(target.vector) for target in static}
    scores = manifest.recipe is not None and features == {0}
    fits = len(features) == 1 and (scores or 0 < min(features) <= _FEATURES)
    _require(fits, "$.targets: vectors differ in length")
    for target in manifest.targets if scores else manifest.targets[len(static) :]:
        empty = target.vector == () and target.bias == 0
        _require(empty, f"$.targets: {target.structure!r} is decoded, so its vector is empty and its bias 0")
    for target in static:
        largest = max(abs(value) for value in (*target.vector, target.bias))
        _require(largest <= _LARGEST_WEIGHT, f"$.targets: a number of {target.structure!r} is absurd")


def _check_channels(channels: tuple[Channel, ...]) -> None:
    modalities = [channel.modality for channel in channels]
    _require(len(set(modalities)) == len(modalities) > 0, "$.channels: a modality appears twice")
    for channel in channels:
        _require(channel.clamp[0] < channel.clamp[1], f"$.channels: clamp of {channel.modality} is empty")
        _require(channel.high > channel.low, f"$.channels: range of {channel.modality} is empty")
        if channel.normalisation == "percentile":
            credible = channel.low >= 0 and channel.high <= 100
            _require(credible, f"$.channels: percentiles of {channel.modality} are outside 0…100")
        if channel.normalisation == "z_score":
            standard = (channel.low, channel.high) == (0, 1)
            _require(standard, f"$.channels: z_score of {channel.modality} needs low 0 and high 1")


def _check_encoder(manifest: Manifest) -> None:
    grid, network = manifest.grid, manifest.encoder
    own = manifest.recipe is not None  # such a grid may keep a spacing of the scan
    credible = all(0.1 <= s <= 20 or (own and s == 0) for s in grid.spacing_mm)
    _require(credible, "$.grid: spacing outside 0.1…20 mm")
    voxels = grid.tile_voxels[0] * grid.tile_voxels[1] * grid.tile_voxels[2]
    _require(min(grid.tile_voxels) > 0 and voxels <= _TILE_VOXELS, "$.grid: absurd tile size")
    _require(0 <= grid.overlap < 1, "$.grid: overlap outside 0…1")
    _require(0 < network.multiple_of <= 256, "$.encoder: multiple_of outside 1…256")
    sides = grid.tile_voxels[1:] if own and grid.tile_voxels[0] == 1 else grid.tile_voxels
    _require(all(n % network.multiple_of == 0 for n in sides), "$.grid: tile is not a multiple")
    given = manifest.instructions
    outputs = "one output" if given is None else 'the outputs features and "bottom"'
    wanted = 1 if given is None else 2
    fits = len(network.inputs) == 1 and len(network.outputs) == wanted
    _require(fits, f"$.encoder: one input and {outputs}")
    tensors = (*network.inputs, *network.outputs)
    _require(all(t.dtype in ("float32", "float16") for t in tensors), "$.encoder: a dtype is no float")
    if own:
        return  # `check_recipe` knows its shapes
    channels, features = len(manifest.channels), len(manifest.targets[0].vector)
    _require(network.inputs[0].shape == (1, channels, 0, 0, 0), "$.encoder: input shape")
    _require(network.outputs[0].shape == (1, features, 0, 0, 0), "$.encoder: output shape")
    if given is not None:
        bottom = network.outputs[1]
        _require(
            bottom.name == "bottom" != network.outputs[0].name, '$.encoder: call the second output "bottom"'
        )
        maps = bottom.shape[1] if len(bottom.shape) == 5 else 0
        fits = bottom.shape == (1, maps, 0, 0, 0) and 0 < maps <= _FEATURES and bottom.dtype == "float32"
        _require(fits, "$.encoder: bottom is not (1, B, 0, 0, 0) float32")
        _check_instructions(given, manifest, maps)


def _check_instructions(given: Instructions, manifest: Manifest, maps: int) -> None:
    where = "$.instructions"
    structures = manifest.structures
    _require(given.asked[-1:] == ("",), f'{where}.asked: the last one must be "", which asks for nothing')
    _require(len(set(given.asked)) == len(given.asked), f"{where}.asked: a name appears twice")
    known = {structure.name for structure in structures}
    _require(set(given.asked[:-1]) <= known, f"{where}.asked: a name is no structure")
    single = {structure.name for structure in structures if not structure.union_of}
    _require(single <= set(given.asked), f"{where}.asked: a structure is missing, and so is its vector")
    _require(-1 <= given.least_similarity <= 1, f"{where}: least_similarity outside -1…1")
    _require(0 <= given.least_margin <= 2, f"{where}: least_margin outside 0…2")
    _require(
        given.least_similarity <= given.own_similarity <= 1,
        f"{where}: own_similarity not in least_similarity…1",
    )
    _require(set(given.called) <= known, f"{where}.called: a name is no structure")
    for name, words in given.called.items():
        fits = len(words) <= _MOST_NAMES and all(0 < len(each.strip()) <= _LONGEST_NAME for each in words)
        _require(fits, f"{where}.called: {name} has too many names, or an empty or a very long one")
    _require(
        0 < given.text.most_tokens <= _MOST_TOKENS, f"{where}.text: most_tokens outside 1…{_MOST_TOKENS}"
    )
    text, channels = given.text.network, len(manifest.channels)
    condition = text.outputs[0].shape[-1] if text.outputs and text.outputs[0].shape else 0
    _require(0 < condition <= _FEATURES, f"{where}.text.network: a condition has no credible length")
    _check_tensors(
        text, f"{where}.text.network", {"ids": ("int64", (1, 0))}, {"condition": ("float32", (1, condition))}
    )
    features = len(manifest.targets[0].vector)
    _check_tensors(
        given.decoder,
        f"{where}.decoder",
        {
            "bottom": ("float32", (1, maps, 0, 0, 0)),
            "condition": ("float32", (1, channels, 0, condition)),
            "present": ("bool", (1, channels)),
        },
        {
            "vectors": ("float32", (1, 0, features)),
            "biases": ("float32", (1, 0)),
            "presence": ("float32", (1, 0)),
        },
    )


def _check_tensors(
    network: Network,
    where: str,
    inputs: dict[str, tuple[str, tuple[int, ...]]],
    outputs: dict[str, tuple[str, tuple[int, ...]]],
) -> None:
    """Refuse a network whose tensors are not exactly these, in any order."""
    _require(network.multiple_of == 1, f"{where}: multiple_of is not 1")
    for kind, tensors, wanted in (("inputs", network.inputs, inputs), ("outputs", network.outputs, outputs)):
        found = {tensor.name: (tensor.dtype, tensor.shape) for tensor in tensors}
        text = ", ".join(f"{name} {dtype} {list(shape)}" for name, (dtype, shape) in wanted.items())
        _require(found == wanted and len(tensors) == len(wanted), f"{where}.{kind}: must be {text}")


def _check_vocabulary(vocabulary: Vocabulary, manifest: Manifest) -> None:
    where = "$.vocabulary"
    channels = {channel.modality for channel in manifest.channels}
    _require(set(vocabulary.modalities) == channels, f"{where}.modalities: not one for each channel")
    names = [structure.name for structure in manifest.structures]
    for key, listed in (("visible", vocabulary.visible), ("targets", vocabulary.targets)):
        _require(set(listed) <= set(names), f"{where}.{key}: a name is no structure")
        _require(
            len(set(listed)) == len(listed) <= _MOST_NAMES, f"{where}.{key}: names repeat or are too many"
        )
        _require(set(listed) <= set(vocabulary.spoken), f"{where}.spoken: a name of {key} has no words")
        spoken = {vocabulary.spoken[name] for name in listed}
        _require(len(spoken) == len(listed), f"{where}.spoken: two names of {key} have the same words")
        _require("nothing known" not in spoken, f'{where}.spoken: "nothing known" says that nothing is')
    ordered = [name for name in names if name in vocabulary.visible]
    _require(list(vocabulary.visible) == ordered, f"{where}.visible: not in the order of the structures")
    _require(len(vocabulary.targets) > 0, f"{where}.targets: nothing can be asked for")
    _require(set(vocabulary.spoken) <= set(names), f"{where}.spoken: a name is no structure")
    said = [*vocabulary.modalities.values(), *vocabulary.spoken.values()]
    if finding := vocabulary.finding:
        _require(finding.structure in names, f"{where}.finding: its structure is unknown")
        _require("brain" in names, f'{where}.finding: its side is that of the "brain", which is no structure')
        said.append(finding.spoken)
    _require(len(set(vocabulary.modalities.values())) == len(channels), f"{where}.modalities: words repeat")
    for words in said:
        fits = len(words) <= _LONGEST_WORDS and _WORDS.fullmatch(words) is not None
        _require(
            fits, f"{where}: {words[:_LONGEST_WORDS]!r} is more than letters, digits, _, - and single spaces"
        )


def _check_writer(writer: WriterModel) -> None:
    where = "$.writer"
    fits = 0 < writer.most_tokens <= _MOST_WRITTEN_TOKENS
    _require(fits, f"{where}.most_tokens: outside 1…{_MOST_WRITTEN_TOKENS}")
    tensors = (*writer.vision.inputs, *writer.vision.outputs)
    names = [(tensor.name, tensor.dtype, len(tensor.shape)) for tensor in tensors]
    _require(
        names == [("views", "float32", 4), ("tokens", "float32", 3)] and writer.vision.multiple_of == 1,
        f"{where}.vision: must be views (S, V, H, W) to tokens (S, N, E), float32, multiple_of 1",
    )
    # What is written is kept by the hash of this file alone.
    _require(writer.vision.weights == "", f"{where}.vision: its weights must be in its ONNX file")
    views, tokens = (tensor.shape for tensor in tensors)
    _require(views[0] == tokens[0] == 0, f"{where}.vision: the number of series is not free")
    _require(views[1] > 0 and 0 < views[2] == views[3] <= _LARGEST_VIEW, f"{where}.vision: no square views")
    _require(0 < tokens[2] <= _FEATURES, f"{where}.vision: tokens have no credible width")
