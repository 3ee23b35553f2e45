"""What the command line's tests share: the program in this process, and a gateway for it in a thread."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from omni_async.cli import main
from omni_async.emulator import Emulator, Scenario

KEY = "sk-test-key-that-must-not-be-seen"
PACKAGE_ROOT = Path(__file__).parents[2]
PATIENCE = 90
"""Seconds that a process may take on a machine that has more to do, before a test says that it hangs."""
QUICK = {"task_seconds": 0.1, "task_sigma": 0.0, "queue_seconds": 0.0}


def until(holds: Callable[[], object]) -> None:
    """Wait for what another process or thread does."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder of the test's own, a known environment, and signals as they were afterwards."""
    for name in ("JIMMYAI_BASE_URL", "TOAPIS_API_KEY", "TOAPIS_BASE_URL", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("JIMMYAI_API_KEY", KEY)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".state"))
    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@attrs.frozen
class Ran:
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def omni(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the program in this process; the key never shows."""

    def run(*words: object) -> Ran:
        code = main([str(word) for word in words])
        told = capsys.readouterr()
        assert KEY not in told.out + told.err
        assert "Traceback" not in told.err
        return Ran(code, told.out, told.err)

    return run


@pytest.fixture
def scenario(tmp_path: Path) -> Callable[..., Path]:
    """A scenario file of quick tasks."""

    def write(**fields: Any) -> Path:
        path = tmp_path / "scenario.json"
        path.write_text(json.dumps({**QUICK, **fields}))
        return path

    return write


class Threaded:
    """An emulator in a thread of its own."""

    def __init__(self, scenario: Scenario) -> None:
        self.emulator = Emulator(scenario)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._started = threading.Event()
        self._stop = asyncio.Event()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with self.emulator:
            self._started.set()
            await self._stop.wait()

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(5)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    @property
    def url(self) -> str:
        return self.emulator.url


@pytest.fixture
def gateway() -> Iterator[Callable[..., Threaded]]:
    """Start a gateway that outlives single commands."""
    running: list[Threaded] = []

    def start(**fields: Any) -> Threaded:
        threaded = Threaded(Scenario(**{**QUICK, **fields}))
        threaded.start()
        running.append(threaded)
        return threaded

    yield start
    for threaded in running:
        threaded.stop()


def command(*words: object) -> list[str]:
    """The program in a process of its own."""
    return [sys.executable, "-W", "error", "-m", "omni_async", *map(str, words)]


def environment(**more: str) -> dict[str, str]:
    """This process's environment, with the package where it is."""
    return {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT), "JIMMYAI_API_KEY": KEY, **more}


@pytest.fixture
def started() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start the program in a process of its own; it does not outlive the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: object, **more: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment(**more),
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()
