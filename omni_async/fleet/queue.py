"""The queue's door to the database: one connection to ask, another to listen.

PgQueuer's own driver for psycopg does both on one, and a statement waits there for up to a second until the listener
lets go.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import psycopg
from pgqueuer.db import PsycopgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from ..journal.session import KEEP, address

T = TypeVar("T")

AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""What waiting helps against; the last is a server that takes no writes for a while, as for want of space."""


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
        self.gone = False

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Rows of a statement."""
        return await self._noticing(self._statements.fetch, query, *args)

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        return await self._noticing(self._statements.execute, query, *args)

    async def _noticing(self, run: Callable[..., Awaitable[T]], query: str, *args: object) -> T:
        if self.gone:
            raise psycopg.OperationalError("the connection was given up")
        try:
            return await run(query, *args)
        except AWAY:
            self.lose()
            raise

    def lose(self) -> None:
        """Give the connection up."""
        self.gone = True
        self._lost()


class FleetQueries(Queries):
    """The queue's statements, of which a worker's late ones touch no job that another has taken over.

    When the connection is gone, jobs are left as they are, without an error for each of them.
    """

    async def retry_job(self, job: Job, delay: timedelta, traceback_record: Any) -> None:
        """See `Queries.retry_job`. A task that runs comes before all that is still to be sent: its seat is its own."""
        with self._unless_gone():
            ours = await self.driver.fetch(
                "UPDATE pgqueuer job SET priority = CASE WHEN EXISTS (SELECT 1 FROM omni_item item"
                " WHERE item.key = convert_from(job.payload, 'utf8') AND item.state IN ('SUBMITTING', 'SUBMITTED'))"
                " THEN 1 ELSE priority END WHERE id = $1 AND queue_manager_id = $2 RETURNING id",
                job.id,
                job.queue_manager_id,
            )
            if ours:
                await super().retry_job(job, delay, traceback_record)

    async def log_jobs(self, job_status: list[Any]) -> None:
        """See `Queries.log_jobs`."""
        query = "SELECT id FROM pgqueuer WHERE id = ANY($1::bigint[]) AND queue_manager_id = $2"
        manager = next(job.queue_manager_id for job, _, _ in job_status)
        with self._unless_gone():
            rows = await self.driver.fetch(query, [job.id for job, _, _ in job_status], manager)
            ours = {row["id"] for row in rows}
            if ended := [what for what in job_status if what[0].id in ours]:
                await super().log_jobs(ended)

    @contextmanager
    def _unless_gone(self) -> Iterator[None]:
        try:
            yield
        except AWAY:
            if not (isinstance(self.driver, FleetDriver) and self.driver.gone):
                raise


async def connect(dsn: str) -> "psycopg.AsyncConnection[Any]":
    """A connection of the loop's.

    Raises:
        psycopg.Error: The server cannot be reached.
    """
    connection = await psycopg.AsyncConnection.connect(**address(dsn), autocommit=True)
    try:
        await connection.execute(KEEP)  # the one that listens says nothing for hours
    except BaseException:
        await connection.close()
        raise
    return connection
