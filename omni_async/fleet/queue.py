"""The queue's door to the database: one connection to ask, another to listen.

PgQueuer's own driver for psycopg does both on one, and a statement waits there for up to a second until the listener
lets go.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from pgqueuer.db import PsycopgDriver

from ..journal.session import address

T = TypeVar("T")


class FleetDriver(PsycopgDriver):
    """A driver that tells when the database is lost.

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

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Rows of a statement."""
        return await self._noticing(self._statements.fetch(query, *args))

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        return await self._noticing(self._statements.execute(query, *args))

    async def _noticing(self, statement: Awaitable[T]) -> T:
        try:
            return await statement
        except (psycopg.OperationalError, psycopg.InterfaceError):
            self._lost()
            raise


async def connect(dsn: str) -> "psycopg.AsyncConnection[Any]":
    """A connection of the loop's.

    Raises:
        psycopg.Error: The server cannot be reached.
    """
    return await psycopg.AsyncConnection.connect(**address(dsn), autocommit=True)
