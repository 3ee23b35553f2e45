"""Finished tasks into files: those first whose URLs die first, as long as the disk takes them."""

import math

import anyio
import attrs

from ..errors import JournalError, OmniError
from ..journal.entries import Entry
from ..journal.states import State
from ..lifetime import loop_time
from ..turns import Turn, Turns, server_of
from .gate import Backlog
from .probing import trouble
from .results import NOT_STORED
from .standing import Standing
from .storing import Store, full, lasting, passing, video_path

STORERS = 8
TRIES = 3
"""How often a download is tried in one run, each with the client's own tries, if it is not its server that fails."""
PAUSE = 2.0
PATIENCE = 900.0
"""Seconds for which a video whose server fails is tried, and after the last one that came, if its URL dies earlier or
nobody tells when."""
DISK_PAUSE = 10.0
"""Seconds between two tries while the disk is full, or takes no videos for another reason."""
DISK, SLOW = "disk", "backlog"


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
        self._turns: Turns[Entry] = Turns(self._until)
        self._taken: set[str] = set()
        self._short: set[str] = set()
        self._given_up = False
        self._reason, self._came = "", -math.inf
        self._in_vain = math.inf  # since when every video that was new failed for its server

    @property
    def busy(self) -> bool:
        """Whether a video waits, or is on its way."""
        return bool(self._taken)

    @property
    def outage(self) -> Outage | None:
        """Which videos cannot be fetched for now, if some cannot."""
        late = self._turns.late
        return Outage(len(late), self._reason, max(self._turns.ends - loop_time(), 0.0)) if late else None

    def enqueue(self, entry: Entry) -> None:
        """A task has a video: it is fetched when its turn comes."""
        if entry.key not in self._taken:
            self._taken.add(entry.key)
            task = entry.video_task
            server = server_of(task.video_url if task is not None else None)
            self._turns.add(Turn(entry, self._store.expiry(entry), server))

    async def one(self) -> None:
        """Fetch the next video, or wait for one.

        Raises:
            JournalError: It cannot be written down.
        """
        turn = await self._turns.next()
        key, rests = turn.of.key, False
        if not turn.late:
            self.backlog.begins(key)
        try:
            rests = await self._bring(turn)
        finally:
            self._has_space(turn.of)
            self.backlog.ends(key, counts=not (turn.late or rests))
            if not rests:
                self._turns.over(turn)
                self._taken.discard(key)

    async def _bring(self, turn: Turn[Entry]) -> bool:
        """Store one video; while the disk takes none, in tries for as long as anything else goes on.

        Gives whether it is to be tried again after a rest, in which others have their turns.
        """
        entry = turn.of
        while True:
            try:
                stored = await self._store.store(entry, again=turn.faults > 0 or turn.late)
            except OmniError as error:
                if isinstance(error, JournalError) and not full(error):
                    raise
                if passing(error):
                    return await self._put_off(turn, error)
                turn.faults += 1
                refused = await self._refused(entry, error)
                if self._is_hopeless(turn, error, refused):
                    await self._not_stored(entry, error, refused)
                    return False
                if refused is None:
                    self._turns.rest(turn, PAUSE * 2.0**turn.faults)
                    return True
                await anyio.sleep(DISK_PAUSE)
            else:
                self._came, self._in_vain = loop_time(), math.inf
                self._turns.over(turn, came=True)
                self._standing.moved(stored, State.SUCCEEDED)
                self._standing.settled(stored)
                return False

    async def _put_off(self, turn: Turn[Entry], error: OmniError) -> bool:
        """Have a video whose server fails rest; False if it was tried long enough."""
        if not turn.late:
            self._in_vain = min(self._in_vain, loop_time())
            turn.until = loop_time() + self._store.left(turn.of)
        turn.faults = 0
        self._reason = str(error.args[0]).rpartition(": ")[0] or str(error.args[0])
        if self._turns.put_off(turn, error):
            return True
        await self._not_stored(turn.of, error, None)
        return False

    def _until(self, turn: Turn[Entry]) -> float:
        """When a video whose server fails is given up."""
        return max(turn.until, max(turn.since, self._came) + PATIENCE)

    async def _refused(self, entry: Entry, error: OmniError) -> str | None:
        """Why the disk takes no videos at all; None if this one alone could not be stored."""
        if full(error):
            return str(error.args[0])
        if lasting(error):
            return None
        return await trouble(video_path(self._store.folder, entry.key, entry.target).parent, error)

    def _is_hopeless(self, turn: Turn[Entry], error: OmniError, refused: str | None) -> bool:
        if refused is None:
            self._has_space(turn.of)
            return lasting(error) or turn.faults >= TRIES
        self._short.add(turn.of.key)
        self._gate.hold(DISK, f"the disk is full ({refused})" if full(error) else refused)
        return self._given_up or (turn.faults >= TRIES and not self._standing.open)

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
        """Hold creates while more waits here than can be fetched in time, or all that they bring might be lost."""
        if (why := self._too_many() or self._all_in_vain()) is not None:
            self._gate.hold(SLOW, why)
        else:
            self._gate.release(SLOW)

    def _too_many(self) -> str | None:
        """Whether those whose servers may work take too long; whoever rests keeps nobody waiting."""
        waiting = self._turns.waiting
        if not self.backlog.too_long(waiting, self._turns.first):
            return None
        return f"{waiting} videos wait to be fetched, and the first URL dies soon"

    def _all_in_vain(self) -> str | None:
        """Whether no video came for so long that URLs die before one does, if that lasts as long again.

        Those that failed before the last one came tell nothing: their server is another.
        """
        failing = [turn.rank for turn in self._turns.late if turn.since >= self._in_vain]
        if not self.backlog.outlasts(loop_time() - self._in_vain, failing):
            return None
        return f"{len(failing)} videos wait to be fetched, none could be lately, and the first URL dies soon"
