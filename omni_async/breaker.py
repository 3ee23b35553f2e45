"""Stop paying when paying goes wrong: after five uncertain creates in a row for a minute, with a refused key for good.

For runs over many rows; a single `submit()` is never blocked. Polling and downloading go on meanwhile.
"""

import math
from typing import ClassVar

import anyio

from .errors import AuthenticationError, OmniError, QuotaError

LIMIT = 5
"""Uncertain creates in a row that open it."""
PAUSE = 60.0
"""Seconds without a create, and between two tries while none ends certain."""
GLANCE = 1.0
"""Seconds between two looks at whether it has closed again."""


FORBIDDEN = 5
"""Creates in a row that something before the gateway forbids, and every other would be."""


class Shutout:
    """Tells a run whose key or account is refused from one order in it that a firewall dislikes.

    A 403 without the gateway's own words is a firewall's: it can be about a prompt, and is about all only if it comes
    again and again.
    """

    def __init__(self) -> None:
        self._in_a_row = 0

    def accepted(self) -> None:
        """A create was: the key is good."""
        self._in_a_row = 0

    def is_for_all(self, error: OmniError) -> bool:
        """Whether what a create was refused for would meet the next one, too."""
        if isinstance(error, AuthenticationError) and error.status_code == 403 and error.code is None:
            self._in_a_row += 1
            return self._in_a_row >= FORBIDDEN
        return isinstance(error, AuthenticationError | QuotaError)


class Breaker:
    """Counts what creates come to, and holds them back after too many uncertain ones."""

    __slots__ = ("_in_a_row", "_until")

    appoints: ClassVar[bool] = False
    """Whether its run says which row tries again while the gateway cannot be reached."""

    def __init__(self) -> None:
        self._in_a_row = 0
        self._until = -math.inf

    @property
    def open(self) -> bool:
        """Whether creates are held back."""
        return self._in_a_row >= LIMIT

    @property
    def holds(self) -> bool:
        """Whether a create has to `wait`."""
        return self.open

    async def wait(self) -> None:
        """Wait until a create may be thought of."""
        while (left := self._until - anyio.current_time()) > 0:  # noqa: ASYNC110 - it ends by time as well as by an event
            await anyio.sleep(min(left, GLANCE))

    def lets_go(self) -> bool:
        """Whether one may be sent now; while it is open, the one that may is the only one for another pause."""
        if not self.open:
            return True
        now = anyio.current_time()
        if now < self._until:
            return False
        self._until = now + PAUSE
        return True

    def ended(self, *, uncertain: bool) -> None:
        """A create came to its end: one that is certain closes it."""
        self._in_a_row = self._in_a_row + 1 if uncertain else 0
        if not uncertain:
            self._until = -math.inf
        elif self.open:
            self._until = anyio.current_time() + PAUSE

    def __repr__(self) -> str:
        return f"<Breaker {'open' if self.open else 'closed'}, {self._in_a_row} uncertain in a row>"
