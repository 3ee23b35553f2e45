"""What is written: UTF-8 anywhere, nothing that steers a terminal, and readers that leave."""

import errno
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from omni_async.cli import journal, output
from omni_async.cli.exits import UsageError, code_of, lines_of, worst
from omni_async.errors import (
    AuthenticationError,
    Fault,
    InvalidRequestError,
    JournalError,
    NotSentError,
    OmniError,
    SubmissionUncertainError,
    TargetExistsError,
    WaitTimeoutError,
)
from omni_async.models import VideoTask

from .conftest import PATIENCE, command, environment


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk"])
def test_utf8_whatever_the_console_says(encoding):
    """Results are UTF-8 on any code page, and nothing fails for want of a letter."""
    env = environment(PYTHONIOENCODING=encoding, LC_ALL="C")
    ran = subprocess.run(command("generate", "猫", "--dry-run"), capture_output=True, env=env, timeout=PATIENCE)
    assert ran.returncode == 0
    assert '"prompt": "猫"'.encode() in ran.stdout


def test_a_prompt_that_is_no_text_is_refused():
    """Bytes that are not UTF-8 in an argument are a fault, not a crash."""
    words = [os.fsencode(word) for word in command("generate", "--dry-run")]
    ran = subprocess.run([*words, b"\xff\xfe"], capture_output=True, env=environment(), timeout=PATIENCE)
    assert ran.returncode == 2
    assert b"PROMPT: holds half a surrogate pair" in ran.stderr


def test_streams_that_cannot_change_are_left_alone(monkeypatch):
    """A stand-in for stdout needs no encoding."""
    monkeypatch.setattr(sys, "stdout", object())
    monkeypatch.setattr(sys, "stderr", object())
    output.speak_utf8()


def test_gateways_words_do_not_steer_the_terminal():
    """Control characters are replaced; lines and letters of any script stay."""
    assert output.printable("a\x1b[31m\r\n猫\tb\x07") == "a\ufffd[31m\ufffd\n猫\tb\ufffd"


def test_a_reader_that_leaves_does_not_end_the_work(tmp_path):
    """`… | head -1` closes the pipe; what is paid goes on, and later lines go nowhere."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = io.TextIOWrapper(os.fdopen(writing, "wb"), write_through=True)
    output.write(stream, "one")
    output.write(stream, "two")
    stream.close()


FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")


def nobody():
    """A pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


@needs_full
@pytest.mark.parametrize("progress", ["plain", "live"])
@pytest.mark.parametrize("full", [True, False], ids=["full", "reader gone"])
def test_notes_that_find_no_room_do_not_end_the_work(gateway, full, progress):
    """A full disk under stderr, or nobody at its end: the video is paid, followed and stored all the same."""
    ours = gateway()
    with FULL.open("w") if full else nobody() as stderr:
        words = command("generate", "a cat", "-o", "cat.mp4", "--base-url", ours.url, "--poll", "0.05")
        words += ["--progress", progress]
        ran = subprocess.run(words, stdout=subprocess.PIPE, stderr=stderr, env=environment(), timeout=PATIENCE)
    assert (ran.returncode, ran.stdout) == (0, b"cat.mp4\n")
    assert Path("cat.mp4").stat().st_size > 0


@needs_full
def test_results_that_find_no_room_are_an_error_at_the_end(gateway):
    """What is paid goes on first: both rows of the batch are made, and then it is told."""
    ours = gateway()
    Path("cats.csv").write_text("id,prompt\n1,a cat\n2,a cat\n")
    for words in (["batch", "cats.csv"], ["generate", "a cat", "-o", "cat.mp4"]):
        with FULL.open("w") as full:
            asked = command(*words, "--base-url", ours.url, "--poll", "0.05")
            ran = subprocess.run(asked, stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=PATIENCE)
        assert ran.returncode == 1
        assert ran.stderr.endswith(b"error: stdout did not take the results: No space left on device\n")
    assert len([*Path().rglob("*.mp4")]) == len(ours.emulator.ledger.charges) == 3


@needs_full
def test_a_file_that_takes_nothing_is_an_error_at_once():
    """An export is not left half written."""
    full = FULL.open("wb", buffering=0)
    with io.TextIOWrapper(full, write_through=True) as text, pytest.raises(OSError, match="No space left"):
        output.write_all(text, ["x"])


class Refusing(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, _):
        raise OSError(self.number, os.strerror(self.number))

    def fileno(self):
        return os.open(os.devnull, os.O_WRONLY)


@pytest.mark.parametrize("number", sorted(output.GONE))
def test_what_ends_a_pipe_or_a_terminal_is_an_error_of_an_export(number, monkeypatch, tmp_path):
    """A disk that fails says what a closed terminal does: half an export does not take the name."""
    monkeypatch.setattr(journal, "_as_line", lambda _: "x")

    def opened(descriptor, *_, **__):
        os.close(descriptor)
        return Refusing(number)

    monkeypatch.setattr(journal.os, "fdopen", opened)
    with pytest.raises(OSError, match=os.strerror(number)):
        journal._export([None], str(tmp_path / "all.jsonl"))
    assert list(tmp_path.iterdir()) == []


def test_on_windows_a_reader_that_has_left_is_no_failure_by_either_of_its_names(monkeypatch):
    """An invalid argument is what the system may say of a pipe that nobody reads."""
    monkeypatch.setattr(sys, "platform", "win32")
    spec = importlib.util.spec_from_file_location("omni_async.cli.elsewhere", output.__file__)
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)
    for number in (errno.EINVAL, errno.EPIPE):
        monkeypatch.setattr(sys, "stdout", Refusing(number))
        there.out("x")
    assert there.unwritten == []
    monkeypatch.setattr(sys, "stdout", Refusing(errno.ENOSPC))
    there.out("x")
    assert [error.errno for error in there.unwritten] == [errno.ENOSPC]


def test_a_help_whose_reader_has_gone_is_no_failure():
    """`omni-async --help | head -1`, also under pipefail."""
    for words in (["--help"], ["generate", "--help"], []):
        reading, writing = os.pipe()
        os.close(reading)
        ran = subprocess.run(
            command(*words), stdout=writing, stderr=subprocess.PIPE, env=environment(), timeout=PATIENCE
        )
        os.close(writing)
        assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidRequestError("x"), 2),
        (UsageError("x"), 2),
        (AuthenticationError("x"), 2),
        (AuthenticationError("x", status_code=401), 1),
        (TargetExistsError("x", may_have_charged=False), 2),
        (TargetExistsError("x"), 1),
        (SubmissionUncertainError("x"), 3),
        (JournalError("x"), 1),
        (JournalError("x", kind="noted"), 3),
        (OmniError("x"), 1),
        (OSError("x"), 1),
    ],
)
def test_exit_codes(error, code):
    """Each error has the code its caller can act on."""
    assert code_of(error) == code


def test_the_worst_code_wins():
    """Uncertain before failed before usage."""
    assert [worst(codes) for codes in ([], [0, 0], [0, 2], [2, 1, 0], [1, 3, 0])] == [0, 0, 2, 1, 3]


def test_errors_are_lines():
    """Faults and evidence stand below the error, in the command line's words."""
    invalid = InvalidRequestError("x", faults=(Fault("video_urls[0]", "bad"), Fault("generation_type", "odd", (1,))))
    assert lines_of(invalid) == [
        "error: nothing was sent:",
        "  --video[0]: bad",
        "  --generation-type: odd; allowed: 1",
    ]
    evidence = {"status": 502, "candidate": "t1", "body": b"x" * 600 + b"\xff"}
    assert lines_of(SubmissionUncertainError("lost", evidence=evidence)) == [
        "error: lost", "  status: 502", "  candidate id: t1", f"  body: {'x' * 500}"
    ]  # fmt: skip
    late = WaitTimeoutError("x", task=VideoTask(task_id="t1"), task_id="t1", waited=2.5)
    assert lines_of(late) == ["error: task t1 is still running after 2.5 s: no failure, and not lost"]
    late.__cause__ = NotSentError("the connection was refused")
    assert lines_of(late) == ["error: task t1 was not seen to end in 2.5 s: the connection was refused"]
    assert lines_of(WaitTimeoutError("x", task_id="t1", waited=2.5)) == ["error: task t1 was not seen in 2.5 s"]
    assert lines_of(OSError(28, "No space left on device", "a.mp4")) == ["error: No space left on device: a.mp4"]
    assert lines_of(OSError("odd")) == ["error: OSError"]
    assert lines_of(KeyError("secret")) == [
        "error: KeyError at an unknown place: this is a bug in omni-async, please report it"
    ]
