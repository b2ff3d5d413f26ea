"""What tests share: tools on the path, no hidden holes in CI, a tiny bundle and the studies it knows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import Result, Session
from runtime.author import Author
from runtime.bundle import Bundle, open_bundle
from runtime.engines.llama.client import LlamaProcess
from runtime.infer import main
from runtime.language.draft import Draft
from runtime.trust.signing import TRUST_VARIABLE
from tests.command import Run
from tests.processes import PROMPT, SETTINGS, SHORT
from tests.tiny_bundle import head_plan, make_bundle, write_head
from tests.tiny_gguf import TinyModel, write_gguf
from tests.tiny_writer import PATIENT_S, make_writer_bundle

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
IN_CI = bool(os.environ.get("CI"))
TOOLS = {
    "dciodvfy": "install dicom3tools (apt-get install dicom3tools)",
    "segimage2itkimage": "install dcmqi (pip install dcmqi)",
    "g++": "install g++ (apt-get install g++)",
}
MAY_LACK = ("AVX2", "tiny disk", "no CUDA device")
"""Words of the skips that CI allows: what the machine lacks, not what its set-up forgot."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-cuda",
        action="store_true",
        help="a test that finds no CUDA device fails instead of being skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    if not IN_CI:
        return
    if not DATA.is_dir():
        raise pytest.UsageError(f"{DATA} is absent; CI needs the real scans beside the checkout")
    for tool, fix in TOOLS.items():
        if shutil.which(tool) is None:
            raise pytest.UsageError(f"{tool} is not installed, and CI skips nothing; {fix}")


def _forbidden(report: pytest.TestReport | pytest.CollectReport, config: pytest.Config) -> bool:
    """Whether this is a skip that would hide a hole in CI, or the lack of a device that is required."""
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return False
    reason = str(report.longrepr)
    if "no CUDA device" in reason and config.getoption("require_cuda"):
        return True
    if not IN_CI:
        return False
    if "torch" in reason and "not torch" in config.option.markexpr:
        return False
    return not any(words in reason for words in MAY_LACK)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _forbidden(report, item.config):
        report.outcome, report.longrepr = "failed", f"may not be skipped here: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if _forbidden(report, collector.config):
        report.outcome, report.longrepr = "failed", f"may not be skipped here: {report.longrepr}"
    return report


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle."""
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def session(bundle: Path) -> Iterator[Session]:
    """The tiny bundle, loaded."""
    with Session(bundle, "cpu", 1) as opened:
        yield opened


@pytest.fixture(scope="module")
def axial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An axial T1 series, to read only."""
    folder = tmp_path_factory.mktemp("axial")
    write_head(folder)
    return folder


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has neither passports nor keys."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(TRUST_VARIABLE, raising=False)


@pytest.fixture
def tiny(bundle: Path) -> Bundle:
    """The tiny bundle, opened."""
    return open_bundle(bundle)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A coarser series of its own for every test, to damage."""
    write_head(tmp_path / "in" / "study", head_plan(spacing_mm=(4.0, 3.0, 3.0)))
    return tmp_path / "in" / "study"


@pytest.fixture
def arguments(axial: Path, bundle: Path, tmp_path: Path) -> list[str]:
    """A complete command line that works."""
    return [str(axial), "--out", str(tmp_path / "o"), "--bundle", str(bundle), "--threads", "1"]


@pytest.fixture
def run(bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process, with a destination in `out/` that does not exist yet."""

    def command(*arguments: object) -> tuple[int, str, str]:
        line = [*map(str, arguments), "--out", str(tmp_path / "out" / "result"), "--bundle", str(bundle)]
        code = main(line)
        shown = capfd.readouterr()
        return code, shown.out, shown.err

    return command


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk that holds the small files of a result and not the preview."""
    mount = tmp_path / "tiny"
    mount.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a tiny disk needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", mount], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount a tiny disk: {done.stderr.decode().strip()}")
    yield mount
    subprocess.run(["umount", mount], check=True)


@pytest.fixture(scope="module")
def llama_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny language model."""
    return write_gguf(tmp_path_factory.mktemp("model") / "model.gguf", TinyModel(context=4096))


@pytest.fixture(scope="module")
def llama(llama_file: Path) -> Iterator[LlamaProcess]:
    """That model in its worker."""
    with LlamaProcess(llama_file, SETTINGS) as opened:
        yield opened


@pytest.fixture(scope="module")
def llama_answer(llama: LlamaProcess) -> str:
    """The right answer to the short question."""
    return llama.generate(PROMPT, SHORT).text


@pytest.fixture
def instruction_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where instructions are kept: nothing is there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "zeus-edge" / "instructions"


@pytest.fixture(scope="module")
def writer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with a writer."""
    return make_writer_bundle(tmp_path_factory.mktemp("writer"))


@pytest.fixture(scope="module")
def writer_plain(writer_folder: Path, axial: Path) -> Result:
    """What it makes of the axial series without a language model."""
    with Session(writer_folder, "cpu", 1, "none") as opened:
        return opened.segment(axial)


@pytest.fixture
def in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is there before masks are begun."""
    begin = Author.begin

    def patient(author: Author, *arguments: Any) -> Draft:
        draft = begin(author, *arguments)
        if draft._task is not None:
            draft._task.result(PATIENT_S)
        return draft

    monkeypatch.setattr(Author, "begin", patient)
