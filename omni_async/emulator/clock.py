"""The emulator's time: the event loop's, so that a test's virtual clock rules it too."""

import asyncio
import time


class Clock:
    """Seconds since the first start; stands still at the last reading once stopped for good."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._origin = 0.0
        self._wall = 0.0
        self._stopped_at: float | None = None

    def start(self) -> None:
        """Begin, or go on after a stop: an outage takes time, too."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._origin, self._wall = loop.time(), time.time()
        self._loop = loop
        self._stopped_at = None

    def stop(self) -> None:
        """Freeze, so that the ledger can be read when the loop is gone."""
        self._stopped_at = self.now()

    def now(self) -> float:
        """Seconds since the first start."""
        if self._stopped_at is not None:
            return self._stopped_at
        return 0.0 if self._loop is None else self._loop.time() - self._origin

    def skip(self, seconds: float) -> None:
        """Go forward by so much at once."""
        self._origin -= seconds

    def wall(self, at: float) -> float:
        """Unix seconds at `at` seconds since the start."""
        return self._wall + at
