"""The limits a client is not told about: requests and creates per second, and requests in flight."""

import math
from collections import deque
from typing import Protocol

from .scenario import Scenario


class Meter(Protocol):
    """Counts events against a rate that may change between calls."""

    def take(self, now: float, rate: float, burst: float | None) -> bool:
        """Whether one more event at `now` (seconds) is within `rate` per second; it counts only if so."""
        ...


class TokenBucket:
    """`burst` tokens (one second's worth unless given, at least one), refilled at `rate`."""

    def __init__(self) -> None:
        self._tokens = math.inf
        self._at = 0.0

    def take(self, now: float, rate: float, burst: float | None) -> bool:
        """Whether there is a token; takes it."""
        full = max(1.0, rate if burst is None else burst)
        self._tokens = min(full, self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1.0 - 1e-9:
            return False
        self._tokens -= 1.0
        return True


def _window(rate: float) -> tuple[int, float]:
    """How many events in how many seconds: one second's worth, or one event where the rate is below 1/s."""
    count = max(1, math.floor(rate))
    return count, count / rate


class FixedWindow:
    """So many in each window of the clock; a new window forgets the last one, whatever its end saw."""

    def __init__(self) -> None:
        self._window = -1
        self._count = 0

    def take(self, now: float, rate: float, burst: float | None) -> bool:
        """Whether this window has room; takes it."""
        most, seconds = _window(rate)
        window = math.floor(now / seconds)
        if window != self._window:
            self._window, self._count = window, 0
        if self._count >= most:
            return False
        self._count += 1
        return True


class SlidingWindow:
    """So many in any window that ends now."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def take(self, now: float, rate: float, burst: float | None) -> bool:
        """Whether the window that ends now has room; takes it."""
        most, seconds = _window(rate)
        while self._times and self._times[0] <= now - seconds:
            self._times.popleft()
        if len(self._times) >= most:
            return False
        self._times.append(now)
        return True


METERS: dict[str, type[Meter]] = {
    "token_bucket": TokenBucket,
    "fixed_window": FixedWindow,
    "sliding_window": SlidingWindow,
}


class Limits:
    """The account's limits; reads them from the scenario at each request, since they may change mid-run."""

    def __init__(self) -> None:
        self._meters: dict[tuple[str, str], Meter] = {}
        self.in_flight = 0

    def refusing(self, scenario: Scenario, kind: str, now: float) -> str | None:
        """The limit that refuses a request of this kind at `now`, or None."""
        if scenario.http_concurrency is not None and self.in_flight >= scenario.http_concurrency:
            return "http_concurrency"
        if not self._within("requests_per_second", scenario.requests_per_second, scenario, now):
            return "requests_per_second"
        creates = scenario.creates_per_second if kind == "create" else None
        if not self._within("creates_per_second", creates, scenario, now):
            return "creates_per_second"
        return None

    def _within(self, name: str, rate: float | None, scenario: Scenario, now: float) -> bool:
        if rate is None:
            return True
        key = (name, scenario.limit_style)
        meter = self._meters.get(key)
        if meter is None:
            meter = self._meters[key] = METERS[scenario.limit_style]()
        return meter.take(now, rate, scenario.burst)
