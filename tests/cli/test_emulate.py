"""`emulator`: serves until Ctrl-C, then shows what it counted."""

import json
import os
import signal
import threading
import time
import urllib.request

import pytest

from omni_async.cli.emulate import changed
from omni_async.cli.exits import UsageError
from omni_async.emulator import Scenario

from .conftest import PATIENCE


def interrupt(number=signal.SIGINT, *, once=lambda: True, seconds=0.1):
    """Ctrl-C, so many seconds after the command listens for it and `once` holds, however busy the machine is."""
    before = signal.getsignal(number)

    def send():
        deadline = time.monotonic() + PATIENCE
        while (signal.getsignal(number) is before or not once()) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(seconds)
        os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


def test_it_tells_where_it_is_and_what_it_counted(omni):
    """The URL comes first on stdout, directions go to stderr, the sums come at the end; Ctrl-C is code 0."""
    interrupt(seconds=0.5)
    ran = omni("emulator", "--port", "0", "--task-seconds", "1")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].startswith("http://127.0.0.1:")
    assert lines[1:] == [
        "0 videos charged, 0 s in all, 0 spent",
        "0 requests: none",
        "0 refused: none",
        "up to 0 tasks running at once, up to 0 requests in flight",
    ]
    assert f"JIMMYAI_BASE_URL={lines[0]}" in ran.err


def test_as_json_lines(omni):
    """With --json the URL and the ledger are objects."""
    interrupt(signal.SIGTERM, seconds=0.5)
    ran = omni("emulator", "--port", "0", "--json")
    url, ledger = map(json.loads, ran.out.splitlines())
    assert url["url"].startswith("http://")
    assert ledger["charges"] == []
    assert ran.code == 0


def test_the_client_reaches_it(started):
    """In a process of its own it serves until it is interrupted."""
    process = started("emulator", "--port", "0", "--set", "price=2", "--task-seconds", "0.1", "--running-tasks", "1")
    url = process.stdout.readline().strip()
    other = started("generate", "a cat", "--base-url", url, "--poll", "0.05", "-q")
    out, err = other.communicate(timeout=PATIENCE)
    assert other.returncode == 0, err
    assert out.startswith(url)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)
    assert "1 videos charged, 6 s in all, 2 spent" in out
    assert process.returncode == 0


def test_a_port_that_is_taken_is_one_line(omni, gateway):
    """The system's own words, without a traceback."""
    port = gateway().url.rpartition(":")[2]
    ran = omni("emulator", "--port", port)
    assert ran.code == 1
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1


def test_a_recorded_session_is_replayed(omni, tmp_path):
    """`--replay` gives the answers that were recorded; a folder without any is a usage error."""
    none = omni("emulator", "--port", "0", "--replay", str(tmp_path))
    assert none.code == 2
    assert f"--replay: {tmp_path} holds no recorded samples" in none.err
    (tmp_path / "jimmy").mkdir()
    meta = {"kind": "balance", "status": 200, "at": "2026-04-15T00:00:00+00:00"}
    sample = {"meta": meta, "call": {"method": "GET", "path": "/b"}, "answer": {}}
    (tmp_path / "jimmy" / "000001-balance.json").write_text(json.dumps(sample))
    interrupt(seconds=0.5)
    assert omni("emulator", "--port", "0", "--replay", str(tmp_path)).code == 0


@pytest.mark.parametrize("given", ["task_seconds", "task_seconds=", "task_seconds=x"])
def test_set_takes_json(omni, given):
    """What is not FIELD=JSON is refused."""
    ran = omni("emulator", "--set", given)
    assert ran.code == 2
    assert "write FIELD=JSON" in ran.err


def test_a_field_that_does_not_exist(omni):
    """The nearest name is suggested."""
    ran = omni("emulator", "--set", "task_second=1")
    assert ran.code == 2
    assert "did you mean 'task_seconds'" in ran.err


def test_fields_replace_those_of_the_scenario():
    """Options win over the file, faults can be given as JSON."""
    found = changed(Scenario(task_seconds=9, seed=4), {"task_seconds": 2.0, "faults": [{"kind": "fail"}]})
    assert (found.task_seconds, found.seed, found.faults[0].kind) == (2.0, 4, "fail")
    with pytest.raises(UsageError, match="latency"):
        changed(Scenario(), {"latency": -1})


def test_the_ledger_is_served(gateway):
    """`/_emulator/ledger` is where the directions say."""
    url = gateway().url
    with urllib.request.urlopen(f"{url}/_emulator/ledger", timeout=PATIENCE) as answer:  # noqa: S310 - our own http URL
        assert json.load(answer)["charges"] == []
