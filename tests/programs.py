"""A program of the README in a process of its own that has what it imports already: a start takes no seconds."""

import asyncio
import contextlib
import multiprocessing
import os
import runpy
import sys

CONTEXT = multiprocessing.get_context("forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else None)


class Program:
    """A program that can be started, killed, and started again.

    Args:
        folder: Its working folder, where `program.py` and `log.txt` are made.
        source: The program, or a test's variant of it.
        preload: What takes long to import.
        environment: More of it.
    """

    def __init__(self, folder, source, *, preload=(), **environment):
        CONTEXT.set_forkserver_preload([*preload])
        self.path, self.log = folder / "program.py", folder / "log.txt"
        self.path.write_text(source, "utf-8")
        self._environment, self._process = environment, None

    def start(self):
        """Start it; what it says is added to its log."""
        arguments = (str(self.path), str(self.log), self._environment)
        self._process = CONTEXT.Process(target=run, args=arguments, daemon=True)
        self._process.start()

    async def end(self, number):
        """Send a signal, and wait for the end; gives the exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)
        async with asyncio.timeout(10):
            while self._process.is_alive():  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.02)
        return self._process.exitcode

    def said(self):
        """Its log."""
        return self.log.read_text("utf-8")


def run(path, log, environment):
    """In the new process: what `python program.py` does."""
    os.chdir(os.path.dirname(path))  # noqa: PTH120 - what imports pathlib is the program's affair
    os.environ.update(environment)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(out, number)
    sys.argv = [path]
    runpy.run_path(path, run_name="__main__")
