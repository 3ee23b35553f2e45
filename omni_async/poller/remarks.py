"""What the log is told of looks that go wrong: each thing once, and never a line for each of thousands of ids."""

import logging

from ..dialects import Dialect
from ..errors import OmniError

logger = logging.getLogger("omni_async")

MOST_WORDS = 50
"""Unknown status words that are told, each once: one with a number in it would be new with each look."""
LOOKS = 3
"""Looks in a row at an id that told nothing, after which that is told."""
REPEAT_AFTER = 600.0
"""Seconds in which the same trouble is not told of again, whichever id has it."""
MOST = 10
"""Lines about such trouble in that time at most: a reason may be worded anew each time."""


class Remarks:
    """Remembers what was told."""

    def __init__(self) -> None:
        self._words: set[str] = set()
        self._reasons: dict[str, float] = {}

    def word(self, word: str, dialect: Dialect) -> None:
        """A status word; told if the dialect does not know it."""
        word = word[:40]
        if word not in self._words and len(self._words) < MOST_WORDS and dialect.status(word) is None:
            self._words.add(word)
            logger.warning("the gateway reports the unknown status %r; it is taken as still running", word)

    def unseen(self, task_id: str, error: OmniError, now: float) -> None:
        """Several looks at a task in a row told nothing, the last one for this reason."""
        self._reasons = {reason: told for reason, told in self._reasons.items() if now - told < REPEAT_AFTER}
        reason = f"{type(error).__name__}: {error.args[0]}"
        if reason in self._reasons or len(self._reasons) >= MOST:
            return
        self._reasons[reason] = now
        logger.warning(
            "task %s could not be seen in %d looks: %s; it is looked at on and on, as are others of which this is true",
            task_id, LOOKS, error.args[0],
        )  # fmt: skip
