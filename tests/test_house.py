"""Rules of the house that no other tool checks: sizes, names, what imports cost, what the text says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from runtime.version import __version__
from tests.source_tree import ROOT, project_files, relative

PACKAGES = ("runtime", "training", "export", "benchmarks")
ROOMS = ("kernels", *PACKAGES, "tests")
HEAVY = {
    "PIL",
    "SimpleITK",
    "cryptography",
    "cuda",
    "highdicom",
    "llama_cpp",
    "nibabel",
    "nvtx",
    "onnxruntime",
    "openvino",
    "pydicom",
    "tensorrt",
    "tokenizers",
}
VAGUE = {"base", "common", "helper", "helpers", "manager", "util", "utils"}

FILES = project_files()
PYTHON = [path for path in FILES if path.suffix == ".py"]
MODULES = [path for path in PYTHON if path.relative_to(ROOT).parts[0] in PACKAGES]
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PYTHON}
TEXT = [path for path in FILES if b"\0" not in path.read_bytes() and path.name != "LICENSE"]
TEXT.remove(Path(__file__))  # it names what it forbids


def definitions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node


def imported(statement: ast.stmt) -> set[str]:
    """Top-level names of the packages that a statement imports."""
    if isinstance(statement, ast.Import):
        return {alias.name.partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.ImportFrom) and statement.module:
        return {statement.module.partition(".")[0]}
    return set()


def test_house_sees_every_room() -> None:
    # Without this, a moved folder would turn every other test here into one that cannot fail.
    assert {relative(path).partition("/")[0] for path in FILES} >= set(ROOMS)
    assert len(MODULES) > 50


def test_files_are_small() -> None:
    limits = {".py": 300, ".h": 400, ".cpp": 400, ".cu": 400}
    sizes = {
        path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES if path.suffix in limits
    }
    assert {relative(path): size for path, size in sizes.items() if size > limits[path.suffix]} == {}


def test_functions_take_at_most_eight_parameters() -> None:
    wide = {}
    for path, tree in TREES.items():
        for node in definitions(tree):
            if isinstance(node, ast.ClassDef):
                continue
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            count = sum(argument.arg not in {"self", "cls"} for argument in every)
            if count > 8:
                wide[f"{relative(path)}:{node.lineno} {node.name}"] = count
    assert wide == {}


def test_modules_say_first_why_they_exist() -> None:
    silent = [relative(path) for path in MODULES if not (ast.get_docstring(TREES[path]) or "").strip()]
    # A C++ file beside its own header leaves the word to that.
    kernels = [path for path in FILES if path.suffix in {".h", ".cpp", ".cu"}]
    kernels = [path for path in kernels if path.suffix == ".h" or not path.with_suffix(".h").exists()]
    silent += [relative(path) for path in kernels if not path.read_text(encoding="utf-8").startswith("// ")]
    assert silent == []


def test_public_modules_list_their_names() -> None:
    unlisted = []
    for path in MODULES:
        body = TREES[path].body
        targets = {
            target.id
            for node in body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        empty = all(isinstance(node, ast.Expr) for node in body)
        if not empty and "__all__" not in targets and not path.stem.startswith("_"):
            unlisted.append(relative(path))
    assert unlisted == []


def test_names_say_what_a_thing_is() -> None:
    found = {relative(path): path.stem for path in FILES if path.suffix in {".py", ".h", ".cpp", ".cu"}}
    for path, tree in TREES.items():
        found |= {f"{relative(path)}:{node.lineno}": node.name for node in definitions(tree)}
    words = {place: set(re.findall(r"[a-z]+", spaced(text))) for place, text in found.items()}
    assert {place for place, parts in words.items() if parts & VAGUE} == set()


def spaced(text: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md"])
def test_documents_name_every_room(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert [room for room in ROOMS if f"{room}/" not in text] == []


def test_version_is_the_same_everywhere() -> None:
    assert metadata.version("zeus-edge") == __version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.MULTILINE)[1] == __version__


def test_only_bindings_know_python() -> None:
    knowing = [
        relative(path)
        for path in FILES
        if path.suffix in {".h", ".cpp", ".cu"}
        and re.search(r"#include\s*[<\"](nanobind|Python|bindings)\b", path.read_text(encoding="utf-8"))
    ]
    parts = (".cpp", ".h", "_arrays.cpp", "_labels.cpp", "_scores.cpp")
    assert knowing == [f"kernels/bindings{part}" for part in parts]


def test_runtime_imports_heavy_libraries_where_they_are_needed() -> None:
    early = {
        relative(path)
        for path in MODULES
        if path.relative_to(ROOT).parts[0] == "runtime"
        for statement in TREES[path].body
        if imported(statement) & HEAVY
    }
    assert early == set()


def loaded_by(statement: str) -> set[str]:
    """Top-level modules of a fresh interpreter that ran a statement."""
    program = f"import sys\n{statement}\nprint('\\n', *{{key.partition('.')[0] for key in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_runtime_loads_without_torch_and_heavy_libraries() -> None:
    # `torch` may be installed or not: nothing in the runtime asks.
    loaded = loaded_by("import runtime.session, runtime.result")
    assert "numpy" in loaded
    assert loaded & {*HEAVY, "export", "onnx", "scipy", "torch", "training"} == set()


def test_version_is_answered_without_numpy() -> None:
    loaded = loaded_by("from runtime.infer import main\nassert main(['--version']) == 0")
    assert "runtime" in loaded
    assert loaded & {*HEAVY, "numpy", "torch"} == set()


@pytest.mark.parametrize(
    "pattern",
    [
        # hosts of package registries and of weights; data is found by its reference, never by a link
        r"pypi\.org|pythonhosted|npmjs|anaconda\.(org|com)|download\.pytorch|debian\.org|huggingface\.co",
        r"https?://\S+\.(zip|tar|tgz|gz|nii|dcm|onnx|pt|whl)\b",
        # who wrote it, with what, on which machine
        r"(?<![\w.])/(work|root|opt)/|\b(CEO|ChatGPT|Claude|Copilot)\b|\bas an AI\b",
    ],
    ids=["registries", "downloads", "authorship"],
)
def test_text_speaks_of_the_project_only(pattern: str) -> None:
    found = [
        f"{relative(path)}:{number}: {line.strip()[:80]}"
        for path in TEXT
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert found == []
