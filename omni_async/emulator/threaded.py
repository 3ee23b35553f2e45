"""The emulator in a thread of its own: for tests whose event loops come and go, or that have none."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from .server import Emulator


class ThreadedEmulator(Emulator):
    """An `Emulator` with a thread and an event loop of its own, whatever loops its clients run on.

    Takes what `Emulator` takes, and works as `with`. Within, it is listening; `stop()` and `start()` make an outage
    and may be awaited in any event loop. Its time is real time: where a test's own clock shall rule it, use `Emulator`.
    """

    _home: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Self:
        begun: Future[None] = Future()
        self._thread = threading.Thread(target=self._live, args=(begun,), name="omni-emulator", daemon=True)
        self._thread.start()
        begun.result()
        try:
            self._there(super().start()).result()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._there(super().stop()).result()
        finally:
            self._leave()

    async def start(self) -> None:
        """Listen again, on the same port. OSError if that is taken; RuntimeError if it runs already, or not within."""
        await asyncio.wrap_future(self._there(super().start()))

    async def stop(self) -> None:
        """Abort what hangs and stop listening; nothing to do if it does not run. RuntimeError if not within."""
        await asyncio.wrap_future(self._there(super().stop()))

    def _there(self, work: Coroutine[Any, Any, None]) -> "Future[None]":
        """Have something done in its own loop."""
        if self._home is None:
            work.close()
            raise RuntimeError("the emulator has no thread: use it within `with ThreadedEmulator(…) as emulator:`")
        return asyncio.run_coroutine_threadsafe(work, self._home)

    def _live(self, begun: "Future[None]") -> None:
        # The loop is asyncio's own, whatever policy the tests have set.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            self._home, self._over = runner.get_loop(), asyncio.Event()
            begun.set_result(None)
            runner.run(self._until_over())

    async def _until_over(self) -> None:
        await self._over.wait()

    def _leave(self) -> None:
        home, self._home = self._home, None
        if home is not None:
            home.call_soon_threadsafe(self._over.set)
            self._thread.join()
