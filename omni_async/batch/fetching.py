"""Finished tasks into files: those first whose URLs die first, as long as the disk takes them."""

import asyncio
import heapq
import itertools

import anyio

from ..errors import JournalError, OmniError
from ..journal.entries import Entry
from ..journal.states import State
from .gate import Backlog
from .probing import trouble
from .results import NOT_STORED
from .standing import Standing
from .storing import Store, full, lasting, video_path

STORERS = 8
TRIES = 3
"""How often a download is tried in one run, each with the client's own tries."""
PAUSE = 2.0
DISK_PAUSE = 10.0
"""Seconds between two tries while the disk is full, or takes no videos for another reason."""
DISK, SLOW = "disk", "backlog"


class Fetcher:
    """Fetches the videos of one run.

    Args:
        standing: Of the run.
        store: Stores a video.
    """

    def __init__(self, standing: Standing, store: Store) -> None:
        self._standing, self._store = standing, store
        self._gate = standing.gate
        self.backlog = Backlog(STORERS)
        self._waiting: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()
        self._taken: set[str] = set()
        self._arrived = asyncio.Event()
        self._short: set[str] = set()
        self._given_up = False

    @property
    def busy(self) -> bool:
        """Whether a video waits, or is on its way."""
        return bool(self._taken)

    def enqueue(self, entry: Entry) -> None:
        """A task has a video: it is fetched when its turn comes."""
        if entry.key not in self._taken:
            self._taken.add(entry.key)
            heapq.heappush(self._waiting, (self._store.expiry(entry), next(self._order), entry))
            self._arrived.set()

    async def one(self) -> None:
        """Fetch the next video, or wait for one.

        Raises:
            JournalError: It cannot be written down.
        """
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        _, _, entry = heapq.heappop(self._waiting)
        self.backlog.begins(entry.key)
        try:
            await self._bring(entry)
        finally:
            self._has_space(entry)
            self.backlog.ends(entry.key)
            self._taken.discard(entry.key)

    async def _bring(self, entry: Entry) -> None:
        """Store one video, in a few tries; while the disk takes none, for as long as anything else goes on."""
        for tries in itertools.count(1):
            try:
                stored = await self._store.store(entry, again=tries > 1)
            except OmniError as error:
                if isinstance(error, JournalError) and not full(error):
                    raise
                refused = await self._refused(entry, error)
                if self._is_hopeless(entry, error, tries, refused):
                    await self._not_stored(entry, error, refused)
                    return
                await anyio.sleep(PAUSE * 2.0**tries if refused is None else DISK_PAUSE)
            else:
                self._standing.moved(stored, State.SUCCEEDED)
                self._standing.settled(stored)
                return

    async def _refused(self, entry: Entry, error: OmniError) -> str | None:
        """Why the disk takes no videos at all; None if this one alone could not be stored."""
        if full(error):
            return str(error.args[0])
        if lasting(error):
            return None
        return await trouble(video_path(self._store.folder, entry.key, entry.target).parent, error)

    def _is_hopeless(self, entry: Entry, error: OmniError, tries: int, refused: str | None) -> bool:
        if refused is None:
            self._has_space(entry)
            return lasting(error) or tries >= TRIES
        self._short.add(entry.key)
        self._gate.hold(DISK, f"the disk is full ({refused})" if full(error) else refused)
        return self._given_up or (tries >= TRIES and not self._standing.open)

    def _has_space(self, entry: Entry) -> None:
        self._short.discard(entry.key)
        if not self._short:
            self._gate.release(DISK)

    async def _not_stored(self, entry: Entry, error: OmniError, refused: str | None) -> None:
        if refused is not None:
            self._given_up = True
            self._gate.close(refused)
        left = await self._store.journal.run(
            lambda ledger: ledger.unstored(entry.key, State.SUCCEEDED, f"{NOT_STORED}{error.args[0]}")
        )
        self._standing.settled(left)

    def look(self) -> None:
        """Hold creates while more waits here than can be fetched in time."""
        waiting = len(self._waiting)
        if waiting and self.backlog.too_long(waiting, self._waiting[0][0]):
            self._gate.hold(SLOW, f"{waiting} videos wait to be fetched, and the first URL dies soon")
        else:
            self._gate.release(SLOW)
