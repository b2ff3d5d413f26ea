"""The command on terminals and in pipes, and in accidents: one line on stderr, never a traceback."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
from pathlib import Path

import pytest

from runtime.console import ProgressLine, printable
from runtime.formats import study_input
from runtime.infer import main
from tests.command import COMMAND, ROOT, ran
from tests.tiny_bundle import head_plan, write_head


def seen_on_terminal(arguments: list[str]) -> tuple[int, str, str]:
    """Exit code, what stderr drew on a terminal, and what went to stdout in a pipe."""
    master, slave = pty.openpty()
    with subprocess.Popen([*COMMAND, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=slave) as process:
        os.close(slave)
        drawn = b""
        while select.select([master], [], [], 60)[0]:
            try:
                drawn += os.read(master, 4096)
            except OSError:  # the other side is closed
                break
        os.close(master)
        assert process.stdout is not None
        out = process.stdout.read().decode()
        return process.wait(60), drawn.decode(), out


def test_infer_shows_progress_on_a_terminal_only(arguments: list[str]) -> None:
    code, drawn, out = seen_on_terminal([*arguments, "--json"])
    assert code == 0
    for stage in ("read", "encode", "write"):
        assert f"\r\x1b[K{stage}" in drawn
    assert drawn.endswith("\r\x1b[K")
    assert "\n" not in drawn
    json.loads(out)


def test_infer_error_takes_the_place_of_the_progress_line(bundle: Path, tmp_path: Path) -> None:
    line = [str(tmp_path), "--out", str(tmp_path / "o"), "--bundle", str(bundle)]
    code, drawn, out = seen_on_terminal(line)
    assert (code, out) == (3, "")
    assert drawn.split("\x1b[K")[-1] == f"error: there is no file in {tmp_path}\r\n"


def test_progress_line_draws_only_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    line = ProgressLine()
    line("encode", 0.5)
    line.clear()
    assert capsys.readouterr().err == ""
    line = ProgressLine(shown=True)
    line("encode", 0.5)
    assert "encode   [############............]" in capsys.readouterr().err


def test_infer_survives_a_reader_who_has_seen_enough(bundle: Path) -> None:
    command = [*COMMAND, "--list-targets", "--bundle", str(bundle)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_infer_says_so_when_its_output_cannot_be_printed(bundle: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [*COMMAND, "--list-targets", "--bundle", str(bundle)]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 7
    assert done.stderr.startswith("error: standard output cannot be read or written (No space left")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [
        (MemoryError(), 5, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted; nothing was written"),
        (KeyError("Secret^Name"), 1, "KeyError in test_infer_terminal.py, line"),
        (PermissionError(13, "Permission denied", "scan.dcm"), 3, "scan.dcm cannot be read"),
    ],
    ids=["memory", "interrupt", "fault", "permission"],
)
def test_infer_turns_every_accident_into_one_line(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    problem: BaseException,
    code: int,
    words: str,
) -> None:
    def fail(*arguments: object) -> None:
        raise problem

    monkeypatch.setattr(study_input, "read_study", fail)
    assert main(arguments) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert "Secret" not in shown.err
    assert not (tmp_path / "o").exists()


def test_infer_interrupted_while_printing_says_that_the_result_is_there(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("runtime.infer._show", interrupt)
    assert main(arguments) == 130
    assert capsys.readouterr().err == f"interrupted; the result is in {tmp_path / 'o'}\n"
    assert (tmp_path / "o" / "report.json").exists()


def test_infer_leaves_signal_handlers_as_they_were(bundle: Path) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    assert main(["--list-targets", "--bundle", str(bundle)]) == 0
    assert before == {number: signal.getsignal(number) for number in before}


@pytest.mark.parametrize("name", ["caf\udce9.dcm", "\x1b[2J\x1b]0;owned\x07.dcm", "a\nb.dcm"])
def test_infer_never_passes_a_file_name_to_the_terminal_as_it_is(
    arguments: list[str], bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    paths = write_head(tmp_path / "s", head_plan(spacing_mm=(4.0, 3.0, 3.0)))
    (tmp_path / "s" / name).write_bytes(paths[0].read_bytes()[:300])
    assert main([str(tmp_path / "s"), *arguments[1:]]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    assert "looks like DICOM but cannot be read" in shown.out
    assert all(character.isprintable() for character in shown.out.replace("\n", ""))
    json.loads((tmp_path / "o" / "report.json").read_text(encoding="utf-8"))


def test_printable_keeps_text_and_replaces_commands() -> None:
    assert printable("ä 250 mm² …") == "ä 250 mm² …"
    assert printable("a\x1b[2J\nb\u202e\udce9") == "a?[2J?b??"


def test_infer_help_survives_any_encoding() -> None:
    done = ran("--help", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
