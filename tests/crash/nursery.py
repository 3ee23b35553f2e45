"""Fleet workers that begin at once: each is forked from one process that has imported all they need.

    python tests/crash/nursery.py          reads one JSON object a line, prints one a line

An order is `{"name", "words", "environment", "log", "sending"}`: `omni-async WORDS` in a process of its own, its output
in the file `log`. It answers `{"name", "pid"}`, and `{"pid", "code"}` when a process has ended; negative for a signal.
"""

import gc
import importlib
import json
import os
import selectors
import signal
import sys

GLANCE = 0.02
"""Seconds between two looks for processes that have ended."""
NEEDED = (
    "omni_async.cli.app",
    "omni_async.cli.fleet",
    "omni_async.fleet.worker",
    "omni_async.fleet.entering",
    "psycopg",
)


class Nursery:
    """The process that is forked."""

    def __init__(self):
        for name in NEEDED:
            importlib.import_module(name)
        gc.freeze()
        self.running = set()

    def serve(self):
        """Until standard input ends; then nothing that was begun here lives on."""
        orders = selectors.DefaultSelector()
        orders.register(sys.stdin, selectors.EVENT_READ)
        self._tell(ready=True)
        while True:
            if orders.select(GLANCE):
                line = sys.stdin.readline()
                if not line:
                    break
                self._begin(json.loads(line))
            self._reap()
        for pid in self.running:
            os.kill(pid, signal.SIGKILL)

    def _begin(self, order):
        pid = os.fork()
        if pid == 0:
            _live(order)
        self.running.add(pid)
        self._tell(name=order["name"], pid=pid)

    def _reap(self):
        while self.running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self.running.discard(pid)
            self._tell(pid=pid, code=os.waitstatus_to_exitcode(status))

    def _tell(self, **what):
        sys.stdout.write(json.dumps(what) + "\n")
        sys.stdout.flush()


def _live(order):
    """Be that process, to its end."""
    null, log = os.open(os.devnull, os.O_RDONLY), os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for file, number in ((null, 0), (log, 1), (log, 2)):
        os.dup2(file, number)
    os.closerange(3, 100)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - not the parent's
    os.environ.update(order["environment"])
    code = 70
    try:
        _hurry(order["sending"])
        code = sys.modules["omni_async.cli"].main(order["words"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _hurry(sending):
    """Tasks and creates last seconds here, and what is uncertain keeps its seat no longer than those."""
    from omni_async.fleet import steps
    from omni_async.limiter import Limiter

    steps.SENDING = sending
    Limiter.run_time = property(lambda _: sending)


if __name__ == "__main__":
    from rig import ROOT

    sys.path.insert(0, str(ROOT))
    Nursery().serve()
