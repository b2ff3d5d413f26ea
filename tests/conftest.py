"""What every test run shares: the tools of its own environment, and no hidden holes in CI."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
IN_CI = bool(os.environ.get("CI"))
TOOLS = {
    "dciodvfy": "install dicom3tools (apt-get install dicom3tools)",
    "segimage2itkimage": "install dcmqi (pip install dcmqi)",
    "g++": "install g++ (apt-get install g++)",
}
MAY_LACK = ("AVX2", "tiny disk")
"""Words of the skips that CI allows: what the machine lacks, not what its set-up forgot."""


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
    """Whether this is a skip that would hide a hole in CI."""
    if not IN_CI or report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return False
    reason = str(report.longrepr)
    if "torch" in reason and "not torch" in config.option.markexpr:
        return False
    return not any(words in reason for words in MAY_LACK)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if _forbidden(report, item.config):
        report.outcome, report.longrepr = "failed", f"CI skips nothing: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if _forbidden(report, collector.config):
        report.outcome, report.longrepr = "failed", f"CI skips nothing: {report.longrepr}"
    return report
