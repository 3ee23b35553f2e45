"""An event loop whose time jumps: hours of waiting pass in the time the work takes, real sockets included.

When nothing is ready and no thread works, the clock goes straight to the next timer. So limits per second, task times
of minutes and timeouts are tested as they are, and no test waits.
"""

import asyncio
import selectors
import threading

from omni_async.journal.writer import writers


class _WarpSelector(selectors.DefaultSelector):
    """Never waits for time: it says how much has passed instead."""

    def __init__(self):
        super().__init__()
        self.now = 1000.0
        self.loop = None
        self.running = set()

    def select(self, timeout=None):
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        while True:
            # What loopback or a thread has on its way counts as happening now.
            events = super().select(0 if timeout is not None and not self._threads_work() else 0.01)
            if events:
                return events
            if timeout is not None and not self._threads_work():
                self.now += timeout + 1e-9
                return []

    def _threads_work(self):
        """Whether a thread is at something for this loop: its own, one of anyio's, or one that writes a journal."""
        if self.running:
            return True
        for thread in threading.enumerate():
            queue = getattr(thread, "queue", None)
            if type(thread).__name__ == "WorkerThread" and queue is not None and queue.unfinished_tasks:
                return True
        return any(writer.busy and writer._loop is self.loop for writer in writers())


class WarpLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop on such a selector."""

    def __init__(self):
        self._warp = _WarpSelector()
        super().__init__(self._warp)
        self._warp.loop = self
        self._clock_resolution = 1e-9

    def run_in_executor(self, executor, func, *args):
        """Its threads work in their own time, as when a name is resolved."""
        future = super().run_in_executor(executor, func, *args)
        self._warp.running.add(future)
        future.add_done_callback(self._warp.running.discard)
        return future

    async def shutdown_default_executor(self, timeout=None):
        """Its threads end in their own time: no clock that jumps may hurry them (Python 3.12 and later set one)."""
        await super().shutdown_default_executor()

    def time(self):
        """Seconds, by the clock that jumps."""
        return self._warp.now


class SteppedLoop(WarpLoop):
    """Calls `at_step` when so many rounds of the loop have passed since `count` was set."""

    count = None
    at_step = None

    def _run_once(self):
        if self.count is not None:
            if self.count == 0:
                self.count = None
                self.at_step()
            else:
                self.count -= 1
        super()._run_once()


def now():
    """The running loop's time."""
    return asyncio.get_running_loop().time()


def run(main):
    """Run a coroutine on a loop whose time jumps."""
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        return runner.run(main)
