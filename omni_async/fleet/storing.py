"""From a finished task to its video in its place: those first whose URLs die first.

A video that cannot be had yet goes back to the queue and rests there until its next try, up to the end of its URL, as
its server, the disk or the storage may work again. It is EXPIRED if its URL is refused after that end.
"""

import logging
from functools import partial

from ..batch.results import NOT_STORED, not_stored
from ..batch.storing import passing
from ..client import OmniClient
from ..errors import DownloadError, JournalError, OmniError, ResultExpiredError
from ..journal import Entry, State
from ..journal.expiry import has_expired, task_to_fetch, url_dies
from ..storage import Storage, Stored
from ..turns import server_of
from .book import FleetBook
from .places import Places
from .tables import FleetLedger

logger = logging.getLogger("omni_async")

LATER, LONGEST, REFUSED = 5.0, 300.0, 3600.0
"""Seconds for which a video rests: after its first try; at most; and at most if its URL is refused, since each try then
costs a look at the gateway."""
PART_OF_LIFE = 8
"""A video rests for no more than this part of the time that its URL still has."""
FAILS = "its server fails, and is tried for others"
WHOLE_ELSEWHERE = (
    "its URL has died, and it arrived whole before: the machine that fetched it may still have it;"
    " or, to pay for another video, give the row another id"
)


class Storing:
    """The downloads of one worker.

    Args:
        book: Both journals.
        client: Downloads.
        storage: Where videos go.
        downloads: Videos fetched at the same time.
        hands: Rows that the worker has in hand at most; None for all that there are.
    """

    def __init__(
        self, book: FleetBook, client: OmniClient, storage: Storage, downloads: int, hands: int | None
    ) -> None:
        self._shared, self._client, self._storage = book.shared, client, storage
        self._places = Places(downloads, hands)
        self._lifetime = client.studio.exchange.dialect.abilities.url_lifetime

    async def download(self, key: str, tries: int) -> float | None:
        """Store a row's video.

        Args:
            key: The row's.
            tries: How often that was tried.

        Returns:
            Seconds until the next try; None if nothing is left to be done.

        Raises:
            JournalError: The fleet's database is away.
        """
        entry = await self._to_be_stored(key)
        if entry is None:
            return None
        task = entry.video_task
        server = server_of(task.video_url if task is not None else None)
        async with self._places.one(url_dies(entry, self._lifetime), server) as given:
            now = await self._to_be_stored(key)  # it may have waited long
            if now is None:
                return None
            if not given:
                return await self._passed_over(now, tries)
            return await self._tried(now, server, tries)

    async def _to_be_stored(self, key: str) -> Entry | None:
        entry = await self._shared.run(lambda ledger: ledger.entry(key))
        return entry if entry is not None and entry.state is State.SUCCEEDED else None

    async def _tried(self, entry: Entry, server: str, tries: int) -> float | None:
        try:
            size = await self._stored(entry)
        except JournalError:
            raise  # the database's, not the video's
        except OmniError as error:
            if passing(error):
                self._places.failed(server)
            return await self._not_stored(entry, error, tries)
        self._places.came(server)
        await self._shared.run(partial(_done, entry=entry, size=size))
        return None

    async def _stored(self, entry: Entry) -> int:
        """Bring the video to its place; gives its bytes."""
        task = task_to_fetch(entry)
        if task is None:
            raise DownloadError("the row has no task", custom_id=entry.key)
        size = entry.size or 0

        async def whole(video: Stored) -> None:
            nonlocal size
            size = video.size
            if not await self._shared.run(partial(_arriving, entry=entry, video=video)):
                raise DownloadError("the row was stored, or paid anew, by others meanwhile")

        await self._storage.store(self._client, task, entry.file, sha256=entry.sha256, on_whole=whole)
        return size

    async def _passed_over(self, entry: Entry, tries: int) -> float:
        if not not_stored(entry):
            await self._shared.run(partial(_left, entry=entry, why=FAILS, expired=False))
        return self._rest(entry, None, tries)

    async def _not_stored(self, entry: Entry, error: OmniError, tries: int) -> float | None:
        """Write down why; gives when it is tried again, if it is."""
        why = str(error.args[0])
        gone = isinstance(error, ResultExpiredError) and has_expired(entry, self._lifetime, now=self._shared.now())
        left = await self._shared.run(partial(_left, entry=entry, why=why, expired=gone))
        if not left:
            return None
        logger.warning("the video of row %s could not be stored: %s", entry.key, why)
        return self._rest(entry, error, tries)

    def _rest(self, entry: Entry, error: OmniError | None, tries: int) -> float:
        left = url_dies(entry, self._lifetime) - self._shared.now()
        longest = REFUSED if isinstance(error, ResultExpiredError) else LONGEST
        asked: float = getattr(error, "retry_after", None) or 0.0
        return rest(tries, left=left, longest=longest, asked=asked)


def rest(tries: int, *, left: float, longest: float, asked: float = 0.0) -> float:
    """Seconds until a video's next try: longer each time, but shorter towards the end of its URL.

    Args:
        tries: How often it was tried before.
        left: Seconds until its URL dies; less than 0 if it should be dead.
        longest: The most.
        asked: What its server asks for; not more than `longest`.
    """
    grown = min(LATER * 2.0 ** min(tries, 20), longest)
    if left > 0:
        grown = min(grown, max(left / PART_OF_LIFE, LATER))
    return max(grown, min(asked, longest))


def _waits(ledger: FleetLedger, entry: Entry) -> bool:
    """Whether the row still waits for this task's video: a worker that stood still may be the last to know."""
    here = ledger.entry(entry.key)
    return here is not None and (here.state, here.task_id) == (State.SUCCEEDED, entry.task_id)


def _arriving(ledger: FleetLedger, *, entry: Entry, video: Stored) -> bool:
    if not _waits(ledger, entry):
        return False
    ledger.arriving(entry.key, video.size, video.sha256)
    return True


def _done(ledger: FleetLedger, *, entry: Entry, size: int) -> None:
    if _waits(ledger, entry):
        ledger.stored(entry.key, size)


def _left(ledger: FleetLedger, *, entry: Entry, why: str, expired: bool) -> bool:
    """Note why a video is not stored; gives whether it is to be tried again."""
    if not _waits(ledger, entry):
        return False
    here = ledger.entry(entry.key)
    if expired and (here is None or here.size is None):
        ledger.unstored(entry.key, State.EXPIRED, why)
        return False
    ledger.unstored(entry.key, State.SUCCEEDED, NOT_STORED + (WHOLE_ELSEWHERE if expired else why))
    return True
