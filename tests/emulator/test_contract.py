"""schemathesis, which was not written here, finds nothing between the emulator and its document."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from omni_async.emulator import Emulator

KEY = "sk-contract"


@pytest.fixture
def served() -> Iterator[str]:
    """An emulator in a thread with a loop of its own, since schemathesis is another process."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    emulator = Emulator(keys=(KEY,), task_seconds=0.2)
    try:
        asyncio.run_coroutine_threadsafe(emulator.start(), loop).result(5)
        yield emulator.url
        asyncio.run_coroutine_threadsafe(emulator.stop(), loop).result(5)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


def test_schemathesis_finds_nothing(served, tmp_path):
    """All checks, all phases, the same cases each time."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", served + "/openapi.json"]
    command += ["--header", f"Authorization: Bearer {KEY}", "--checks", "all", "--max-examples", "60"]
    command += ["--seed", "1", "--generation-deterministic", "--no-color"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in run.stdout
