"""When something may be sent again: what the gateway asks for, exponential backoff, the budget of repeats. Pure."""

import math
import random
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any

from .dialects.wire import leaves
from .errors import DownloadError, OmniError
from .wording import spelt

RESERVE = 10.0
REFILL = 0.1
LAST = 1.0
"""Seconds: with less than this left, the last try has been made."""
_SECONDS = r"[0-9]{1,18}(\.[0-9]{1,9})?"
_DEPTH = 5
"""How deep in a body a pause is looked for: Google's RetryInfo stands at `error.details[].retryDelay`."""
_LEAVES = 200
_NAMES = {"retryafter": 1.0, "retryafterseconds": 1.0, "retrydelay": 1.0, "retryin": 1.0, "retryafterms": 1e-3}
"""Fields that name a pause, in lower case and without `_` and `-`, and what their unit is in seconds."""
_VALUE = r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?(ms|s)?"
_WORDS = (
    r"(?ai)\b(?:retry|try again) (?:in|after) ([0-9]{1,9}(?:\.[0-9]{1,12})?) ?"
    r"(ms|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:ours?)?)(?![a-z])"
    r"|([0-9]{1,9}) ?(秒|分|小)[钟时]?[之以]?后"
)
_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "秒": 1.0, "分": 60.0, "小": 3600.0}


def retry_after(headers: Mapping[str, str], *, now: datetime, max_wait: float) -> float | None:
    """Seconds a gateway asks to wait, within [0, max_wait]; None if it does not say or says nonsense.

    Args:
        headers: Lower-case response headers.
        now: Wall time, for the HTTP-date form where the answer has no Date.
        max_wait: The longest wait that is obeyed, in seconds.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(_SECONDS, value):
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


def pause_told(document: Any, *, max_wait: float) -> float | None:
    """Seconds that a refusal's body asks to wait, where no header does; None if it names none.

    Such as `{"error": {"details": [{"retryDelay": "53s"}]}}`, `{"retry_after": 5}`, or a message "try again in 20s"
    or "30秒后重试": gateways pass on what theirs say (googleapis/python-genai#1875).

    Args:
        document: The decoded body.
        max_wait: The longest wait that is obeyed, in seconds.
    """
    found = list(islice(leaves(document, _DEPTH), _LEAVES))
    named = (seconds for path, value in found if path and (seconds := _valued(path[-1], value)) is not None)
    worded = (seconds for _, value in found if (seconds := _worded(value)) is not None)
    told = next(named, None)
    told = next(worded, None) if told is None else told
    return None if told is None else min(told, max_wait)


def _valued(name: str, value: Any) -> float | None:
    """The pause that a field of this name comes to."""
    unit = _NAMES.get(spelt(name))
    if unit is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return min(value, 1e9) * unit if value >= 0 else None
    said = re.fullmatch(_VALUE, value.strip()) if isinstance(value, str) else None
    return float(said[1]) * _UNITS.get(said[2], unit) if said else None


def _worded(value: Any) -> float | None:
    """The pause that a text names."""
    said = re.search(_WORDS, value) if isinstance(value, str) else None
    if said is None:
        return None
    unit = (said[2] or said[4]).lower()
    return float(said[1] or said[3]) * _UNITS["ms" if unit == "ms" else unit[0]]


def backoff(attempt: int, rng: random.Random, *, first: float = 1.0, cap: float = 30.0) -> float:
    """Seconds before try number `attempt` + 1: 1, 2, 4 … with up to a quarter of jitter on top (seed: 1/2/4 s)."""
    return min(first * math.pow(2.0, min(attempt, 30)), cap) * (1.0 + rng.random() / 4)


def pause_within(left: float, pause: float, asked: float = 0.0) -> float | None:
    """Seconds until the next try, the last one of all at the end of the time; None if there is none any more.

    Args:
        left: Seconds for which tries are made.
        pause: What would be waited if there was no end.
        asked: What the server asks to wait: nothing that it asks for makes tries more frequent, or is cut short.
    """
    if left < LAST or asked > left:
        return None
    return min(max(pause, asked), left)


def is_temporary(error: OmniError) -> bool:
    """Whether a video's server could not be reached, or failed."""
    return isinstance(error, DownloadError) and error.temporary and error.still is None


class RetryBudget:
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
        return f"<RetryBudget {self.tokens:.1f} repeats left>"
