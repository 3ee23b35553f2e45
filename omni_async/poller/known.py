"""The ids that a poller knows: followed, parked since nobody is interested yet or just now, or let go."""

from collections.abc import Callable

from ..bounded import Bounded
from .followed import Followed

MOST_LEFT = 10_000
"""Ids remembered that were let go: whoever waits again goes on with their schedule."""
MANY_PARKED = 1000
"""Parked ids from which on those are looked for that nobody will ever look at."""


class Known(dict[str, Followed]):
    """Ids that are followed, and those parked: nobody waits, but a create may come to wait for their slot.

    Args:
        holds: Tells whether a task holds a slot.
    """

    def __init__(self, holds: Callable[[str], bool]) -> None:
        super().__init__()
        self._holds = holds
        self._parked: dict[str, Followed] = {}
        self._left: Bounded[str, Followed] = Bounded(MOST_LEFT)
        self._purged_at = MANY_PARKED

    @property
    def following(self) -> int:
        """Ids that are being looked at."""
        return len(self) - len(self._parked)

    def submitted(self, followed: Followed) -> None:
        """A new one, which nobody waits for yet."""
        if len(self._parked) >= self._purged_at:
            self._purge()
        self[followed.task_id] = self._parked[followed.task_id] = followed

    def _purge(self) -> None:
        """Ids whose slot was given back, by a query or with time: nobody ever looks at them."""
        for task_id in [one for one in self._parked if not self._holds(one)]:
            del self._parked[task_id]
            self.pop(task_id, None)
        self._purged_at = max(MANY_PARKED, 2 * len(self._parked))

    def park(self, followed: Followed) -> None:
        """Nobody is interested any more. What is not in the way is kept for whoever waits again."""
        task_id = followed.task_id
        if self.get(task_id) is not followed:
            return
        if self._holds(task_id):
            self._parked[task_id] = followed
        else:
            del self[task_id]
            followed.origin = None  # whose it is the next one says
            self._left[task_id] = followed

    def seek(self, task_id: str) -> Followed | None:
        """One that is followed, parked, or was let go."""
        return self.get(task_id) or self._left.get(task_id)

    def recall(self, task_id: str) -> Followed | None:
        """The same, for somebody who waits for it: one that was let go is parked again."""
        followed = self._left.pop(task_id, None)
        if followed is not None and task_id not in self:
            self[task_id] = self._parked[task_id] = followed
        return self.get(task_id)

    def wake(self, task_id: str) -> bool:
        """Somebody is interested; True if it was parked until now."""
        return self._parked.pop(task_id, None) is not None

    def wake_all(self) -> list[Followed]:
        """Those that were parked until now."""
        parked, self._parked = self._parked, {}
        return list(parked.values())

    def dismissed(self) -> list[Followed]:
        """All of them, which are followed no more: those that hold slots are kept in mind."""
        everyone = list(self.values())
        self.clear()
        self._left.clear()
        self._parked = {one.task_id: one for one in everyone if self._holds(one.task_id)}
        self.update(self._parked)
        return everyone
