"""When something may be sent again: Retry-After, exponential backoff, and the budget that bounds repeats. Pure."""

import math
import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RESERVE = 10.0
REFILL = 0.1
_SECONDS = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?", re.ASCII)


def retry_after(headers: Mapping[str, str], *, now: datetime, max_wait: float) -> float | None:
    """Seconds a gateway asks to wait, within [0, max_wait]; None if it does not say or says nonsense.

    Args:
        headers: Lower-case response headers.
        now: Wall time, for the HTTP-date form where the answer has no Date.
        max_wait: The longest wait that is obeyed, in seconds.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), max_wait)
    when = _date(value)
    if when is None:
        return None
    told = _date(headers.get("date", "")) or now  # by the gateway's own clock, which may be off, or ours
    return min(max((when - told).total_seconds(), 0.0), max_wait)


def _date(value: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # RFC 9110 §5.6.7: the asctime form has no zone and means UTC.
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def backoff(attempt: int, rng: random.Random, *, first: float = 1.0, cap: float = 30.0) -> float:
    """Seconds before try number `attempt` + 1: 1, 2, 4 … with up to a quarter of jitter on top (seed: 1/2/4 s)."""
    return min(first * math.pow(2.0, min(attempt, 30)), cap) * (1.0 + rng.random() / 4)


class Budget:
    """Repeats after a transport error or a 5xx, shared by all calls of a client.

    A reserve of 10, refilled by 0.1 per first attempt: it keeps an outage from doubling the traffic. Refusals spend
    nothing: they slow instead.
    """

    __slots__ = ("tokens",)

    def __init__(self, tokens: float = RESERVE) -> None:
        self.tokens = tokens

    def first(self) -> None:
        """Count a first attempt."""
        if self.tokens < RESERVE:
            self.tokens = min(self.tokens + REFILL, RESERVE)

    def spend(self) -> bool:
        """Whether one repeat may be sent now; takes its token if so."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True

    def __repr__(self) -> str:
        return f"<Budget {self.tokens:.1f} repeats left>"
