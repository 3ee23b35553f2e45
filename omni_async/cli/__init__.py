"""The command line: `omni-async`, or `python -m omni_async`. Needs the extra `cli`."""

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

MISSING = "omni-async: the command line needs typer and rich: pip install 'omni-async[cli]'\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code.

    Args:
        arguments: The words after the program's name; None takes this process's.
    """
    _leave_quietly()
    _fill_standard_files()
    try:
        for name in ("rich", "typer"):
            importlib.import_module(name)
    except ImportError:
        sys.stderr.write(MISSING)
        return 2
    from .app import execute

    return execute(arguments)


def _fill_standard_files() -> None:
    """Where one of them is closed, a journal or a socket would get its number, and uvloop would end in an abort."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _leave_quietly() -> None:
    """A Ctrl-C before the event loop runs ends in an exit code, not in a traceback through the imports."""

    def leave(_number: int, _frame: Any) -> None:
        raise SystemExit(130)

    with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
        signal.signal(signal.SIGINT, leave)
