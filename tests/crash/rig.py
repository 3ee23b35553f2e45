"""What the crash tests stand on: the gateway's process, a sheet of rows, and the batch command in a process."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from judge import prompt_of

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KEY = "CANARY-KEY-9b1d"


class GatewayProcess:
    """The charging gateway in a process of its own; it ends with this one, however this one ends.

    Args:
        folder: Where its ledger lies.
        options: Of the gateway's command line, by name: `delay=0.05`.
    """

    def __init__(self, folder, **options):
        self.ledger = Path(folder) / "ledger.jsonl"
        self.ledger.touch()
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, HERE / "charging.py", "--ledger", self.ledger, "--with-parent", *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(5)
        self._process.stdout.close()

    def size(self):
        """Bytes in the ledger: it grows with each charge."""
        return self.ledger.stat().st_size

    def wait_for_more(self, size, process, *, timeout=60.0):
        """Wait until the ledger has grown beyond `size`, or the process has ended; seconds waited."""
        began = time.monotonic()
        while self.size() <= size and process.poll() is None:
            if time.monotonic() - began > timeout:
                raise TimeoutError(f"nothing was sent for {timeout} s")
            time.sleep(0.003)
        return time.monotonic() - began


def row_id(number):
    """The id of a row."""
    return f"r{number:06d}"


def add_rows(sheet, first, count):
    """Write rows at the end of a JSONL sheet."""
    rows = ({"id": row_id(number), "prompt": prompt_of(row_id(number))} for number in range(first, first + count))
    with Path(sheet).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def environment():
    """That of a command, without what the caller's own would change in it."""
    others = (
        "JIMMYAI",
        "TOAPIS",
        "PYTHONDONTWRITEBYTECODE",
    )  # compiled anew, each start takes a tenth of a second more
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**kept, "JIMMYAI_API_KEY": KEY, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def batch_words(sheet, out, url, *more):
    """The batch command's words after `omni-async`."""
    common = ["--yes", "--progress", "none", "--poll", "0.2", "--base-url", url]
    return [str(word) for word in ("batch", sheet, "--out", out, *common, *more)]


class Life:
    """One run of a command, from its start to its end, natural or not. What it says is in `log`.

    Args:
        command: Words after the interpreter.
        log: File that its output goes to, anew.
        under: Words before the interpreter.
    """

    def __init__(self, command, log, *, under=()):
        self.log = Path(log)
        with self.log.open("wb") as file:
            words = [*map(str, under), sys.executable, *map(str, command)]
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment()
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def signal(self, number):
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def ended(self, timeout=120.0):
        """Its exit code; negative for a signal it died of."""
        return self.process.wait(timeout)

    def said(self):
        """Its output. A traceback, the key or a prompt in it is a fault whatever else was to be shown."""
        told = self.log.read_text("utf-8", "replace")
        assert "Traceback" not in told, told
        assert KEY not in told, told
        assert "neon rain" not in told, told
        return told


def key_in(folder):
    """Files under a folder, videos apart, that hold the key."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and path.suffix != ".mp4")
    return [path.name for path in files if KEY.encode() in path.read_bytes()]
