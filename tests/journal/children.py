"""Other processes: a program that runs beside the test and is told what to do by its standard input."""

import contextlib
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


@contextlib.contextmanager
def child(program, *words):
    """A process with this program; it has said a first line. Killed at the end, if it still runs then."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *map(str, words)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}, **pipes)
    try:
        process.first = process.stdout.readline().strip()
        yield process
    finally:
        process.kill()
        process.communicate()


def kill(process):
    """End it as `kill -9` does."""
    process.kill()
    process.wait()
