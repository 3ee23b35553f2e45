"""The queue's door to the database: one connection to ask, another to listen.

PgQueuer's own driver for psycopg does both on one, and a statement waits there for up to a second until the listener
lets go.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from pgqueuer.db import PsycopgDriver

from ..journal.postgres import CONNECT, SESSION

T = TypeVar("T")


class FleetDriver(PsycopgDriver):
    """A driver that tells when the database is lost, and does nothing any more from then on.

    Jobs stay with their worker until it is found silent: no late word of the queue's may end one, or free its seat.

    Args:
        asking: For statements.
        listening: For notifications.
        lost: Called when a statement finds its connection dead.
    """

    def __init__(
        self,
        asking: "psycopg.AsyncConnection[Any]",
        listening: "psycopg.AsyncConnection[Any]",
        lost: Callable[[], None],
    ) -> None:
        super().__init__(listening)
        self._statements, self._lost = PsycopgDriver(asking), lost
        self._is_lost = False

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Rows of a statement."""
        return await self._noticing(self._statements.fetch, query, *args)

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        return await self._noticing(self._statements.execute, query, *args)

    async def _noticing(self, run: Callable[..., Awaitable[T]], query: str, *args: object) -> T:
        if self._is_lost:
            raise psycopg.OperationalError("the connection was given up")
        try:
            return await run(query, *args)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            self.lose()
            raise

    def lose(self) -> None:
        """Give the connection up."""
        self._is_lost = True
        self._lost()


async def connect(dsn: str) -> "psycopg.AsyncConnection[Any]":
    """A connection of the loop's.

    Raises:
        psycopg.Error: The server cannot be reached.
    """
    return await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, connect_timeout=CONNECT, options=SESSION, application_name="omni_async fleet"
    )
