"""Progress of a batch: rows by state, speed, pauses and their causes, the time that is left."""

import asyncio
from types import TracebackType
from typing import Self

from ..batch import Batch
from ..journal import State
from .output import note
from .screen import Screen

EVERY = 30.0


class Tally:
    """Shows where a batch stands; works as `async with`.

    Args:
        batch: What is shown.
        screen: Where.
    """

    def __init__(self, batch: Batch, screen: Screen) -> None:
        self._batch, self._screen = batch, screen
        self._timer: asyncio.TimerHandle | None = None

    def reading(self, count: int) -> None:
        """So many rows have been read."""

    async def __aenter__(self) -> Self:
        if not self._screen.show.quiet and self._screen.show.progress != "none":
            self._later()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._tick)

    def _tick(self) -> None:
        states = self._batch.progress().states
        note(" · ".join(f"{states[state]:,} {state.lower()}" for state in State if states.get(state)))
        self._later()
