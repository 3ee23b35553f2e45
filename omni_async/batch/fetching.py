"""Finished tasks into files: those first whose URLs die first, as long as the disk takes them."""

import asyncio
import heapq
import itertools
import math

import anyio
import attrs

from ..errors import JournalError, OmniError
from ..journal.entries import Entry
from ..journal.states import State
from ..lifetime import loop_time
from .gate import Backlog
from .probing import trouble
from .results import NOT_STORED
from .standing import Standing
from .storing import Store, full, lasting, passing, video_path

STORERS = 8
TRIES = 3
"""How often a download is tried in one run, each with the client's own tries, if it is not its server that fails."""
PAUSE = 2.0
LONGEST_PAUSE = 60.0
"""Seconds between two tries of a video whose server fails, at most."""
PATIENCE = 900.0
"""Seconds for which it is tried, and after the last video that came, if its URL dies earlier or nobody tells when."""
DISK_PAUSE = 10.0
"""Seconds between two tries while the disk is full, or takes no videos for another reason."""
DISK, SLOW = "disk", "backlog"
_Turn = tuple[bool, float, int, Entry]
"""A video that waits: whether its server failed (first come those whose servers may work), and when its URL dies."""


@attrs.frozen
class Outage:
    """Videos that cannot be fetched because their server, or the network, fails.

    Args:
        videos: How many.
        reason: Why the last one could not be, in a few words.
        left: Seconds for which they are tried at most, unless one comes.
    """

    videos: int
    reason: str
    left: float


@attrs.define
class _Late:
    """A video whose server fails: since when, and until when its URL lives, by the loop's time and by wall time."""

    expiry: float
    since: float
    dies: float
    tries: int = 0


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
        self._waiting: list[_Turn] = []
        self._order = itertools.count()
        self._taken: set[str] = set()
        self._arrived = asyncio.Event()
        self._short: set[str] = set()
        self._given_up = False
        self._late: dict[str, _Late] = {}
        self._resting: list[tuple[float, _Turn]] = []
        self._reason, self._came = "", -math.inf

    @property
    def busy(self) -> bool:
        """Whether a video waits, or is on its way."""
        return bool(self._taken)

    @property
    def outage(self) -> Outage | None:
        """Which videos cannot be fetched for now, if some cannot."""
        if not self._late:
            return None
        left = max(map(self._until, self._late.values())) - loop_time()
        return Outage(len(self._late), self._reason, max(left, 0.0))

    def enqueue(self, entry: Entry) -> None:
        """A task has a video: it is fetched when its turn comes."""
        if entry.key not in self._taken:
            self._taken.add(entry.key)
            self._queue((False, self._store.expiry(entry), next(self._order), entry))

    def _queue(self, turn: _Turn) -> None:
        heapq.heappush(self._waiting, turn)
        self._arrived.set()

    async def one(self) -> None:
        """Fetch the next video, or wait for one.

        Raises:
            JournalError: It cannot be written down.
        """
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        _, expiry, _, entry = heapq.heappop(self._waiting)
        self.backlog.begins(entry.key)
        rests = False
        try:
            pause = await self._bring(entry)
            if rests := pause is not None:
                turn = (True, expiry, next(self._order), entry)
                heapq.heappush(self._resting, (loop_time() + pause, turn))
        finally:
            self._has_space(entry)
            if not rests:
                self._late.pop(entry.key, None)
                self.backlog.ends(entry.key)
                self._taken.discard(entry.key)

    async def _bring(self, entry: Entry) -> float | None:
        """Store one video, in a few tries; while the disk takes none, for as long as anything else goes on.

        Gives the seconds after which it is to be tried again, if its server fails.
        """
        tries = 0
        while True:
            tries += 1
            try:
                stored = await self._store.store(entry, again=tries > 1 or entry.key in self._late)
            except OmniError as error:
                if isinstance(error, JournalError) and not full(error):
                    raise
                if passing(error):
                    return await self._put_off(entry, error)
                refused = await self._refused(entry, error)
                if self._is_hopeless(entry, error, tries, refused):
                    await self._not_stored(entry, error, refused)
                    return None
                await anyio.sleep(PAUSE * 2.0**tries if refused is None else DISK_PAUSE)
            else:
                self._came = loop_time()
                self._standing.moved(stored, State.SUCCEEDED)
                self._standing.settled(stored)
                return None

    async def _put_off(self, entry: Entry, error: OmniError) -> float | None:
        """Seconds after which a video whose server fails is tried again; None if that is too late."""
        now = loop_time()
        late = self._late.get(entry.key) or _Late(self._store.expiry(entry), now, now + self._store.left(entry))
        self._late[entry.key], late.tries = late, late.tries + 1
        self._reason = str(error.args[0]).rpartition(": ")[0] or str(error.args[0])
        asked: float = getattr(error, "retry_after", None) or 0.0
        pause = max(min(PAUSE * 2.0 ** min(late.tries, 30), LONGEST_PAUSE), asked)
        if now + pause <= self._until(late):
            return pause
        await self._not_stored(entry, error, None)
        return None

    def _until(self, late: _Late) -> float:
        """When a video whose server fails is given up."""
        return max(late.dies, max(late.since, self._came) + PATIENCE)

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
        """Have fetched what has rested, and hold creates while more waits here than can be fetched in time."""
        while self._resting and self._resting[0][0] <= loop_time():
            self._queue(heapq.heappop(self._resting)[1])
        waiting = len(self._waiting) + len(self._resting)
        deaths = (*(dies for _, dies, *_ in self._waiting[:1]), *(late.expiry for late in self._late.values()))
        if waiting and self.backlog.too_long(waiting, min(deaths)):
            self._gate.hold(SLOW, f"{waiting} videos wait to be fetched, and the first URL dies soon")
        else:
            self._gate.release(SLOW)
