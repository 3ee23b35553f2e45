"""How fast, how often and how long: the settings of a client, all in seconds and counts."""

import os
import sys
from collections.abc import Callable
from typing import Any

import attrs

from .errors import Fault, InvalidRequestError, invalid_argument


def _refuse(field: str, problem: str) -> InvalidRequestError:
    return invalid_argument(Fault(field, problem))


def _between(least: float, most: float) -> Callable[[Any, "attrs.Attribute[Any]", Any], None]:
    """A validator for a number from `least` to `most`; None is allowed."""

    def check(_instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise _refuse(attribute.name, f"{value!r:.40} is not a positive number from {least:g} to {most:g}")

    return check


def positive(*, whole: bool = False, or_zero: bool = False) -> Callable[[Any, Any, Any], None]:
    """A validator for a finite (with `whole`: whole) number above zero; None is allowed where it is the default.

    Args:
        whole: Whether only whole numbers will do.
        or_zero: Whether zero will do as well.
    """
    kinds = (int,) if whole else (int, float)
    noun = f"positive{' whole' * whole} number{', nor 0' * or_zero}"

    def check(_instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if (value is None and attribute.default is None) or (or_zero and value == 0 and type(value) in kinds):
            return
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value <= sys.float_info.max:
            raise _refuse(attribute.name, f"{value!r:.40} is not a {noun}")

    return check


@attrs.frozen
class Limits:
    """What the account allows, as far as the caller knows; None is found out by itself.

    Args:
        max_connections: HTTP requests in flight at most.
        max_running_tasks: Tasks running at the gateway at most.
        requests_per_second: HTTP requests per second at most.
    """

    max_connections: int = attrs.field(default=64, validator=positive(whole=True))
    max_running_tasks: int | None = attrs.field(default=None, validator=positive(whole=True))
    requests_per_second: float | None = attrs.field(default=None, validator=positive())


@attrs.frozen
class PollPolicy:
    """When to look at a running task, in seconds; None follows the dialect's advice.

    Args:
        min_interval: Never look at an id more often than this.
        max_interval: Never leave an id alone longer than this.
        fixed: Look at just this interval instead.
        lag_per_look: What one look less is worth, in seconds by which a finished task is found later; 0.25 unless set,
            from 0.001 to 3600. Four times as much makes the intervals about twice as long, within the bounds above.
            With `fixed` it means nothing.
    """

    min_interval: float | None = attrs.field(default=None, validator=positive())
    max_interval: float | None = attrs.field(default=None, validator=positive())
    fixed: float | None = attrs.field(default=None, validator=positive())
    lag_per_look: float | None = attrs.field(default=None, validator=_between(0.001, 3600.0))

    def __attrs_post_init__(self) -> None:
        """The two bounds must leave room between them."""
        if self.min_interval is not None and self.max_interval is not None and self.min_interval > self.max_interval:
            raise _refuse("min_interval", f"{self.min_interval} is above max_interval, {self.max_interval}")


@attrs.frozen
class RetryPolicy:
    """How often a refused or failed request is sent again.

    Args:
        attempts: Tries in all for what may safely be repeated.
        max_wait: The longest pause, in seconds, that a gateway can ask for, in Retry-After or a body (docs: 120).
        create_on_internal_error: Whether a create is sent again after the gateway's own word that it failed
            (seed: 2-3 retries). With False such a create is uncertain.
    """

    attempts: int = attrs.field(default=3, validator=positive(whole=True))
    max_wait: float = attrs.field(default=120.0, validator=positive())
    create_on_internal_error: bool = True


@attrs.frozen
class Timeouts:
    """Seconds for one HTTP call; how long to wait for a video is `timeout` of the waiting calls.

    Args:
        connect: Getting a connection, TLS included.
        create: A whole create call. Short values manufacture uncertainty. Of an upload, each 256 KiB, and the answer.
        query: A whole query, balance or other small call.
        read: The longest silence while a file comes down. With `connect`, how long it may take to begin.
    """

    connect: float = attrs.field(default=10.0, validator=positive())
    create: float = attrs.field(default=120.0, validator=positive())
    query: float = attrs.field(default=30.0, validator=positive())
    read: float = attrs.field(default=30.0, validator=positive())


@attrs.frozen
class Recording:
    """What `OmniClient(record=…)` keeps of its exchanges, for `Emulator(replay=…)`.

    Args:
        folder: Where the samples go; made if it is not there.
        prompts: Whether prompts and references are kept as they are; else stand-ins take their place.
    """

    folder: str | os.PathLike[str] = attrs.field()
    prompts: bool = attrs.field(default=False, kw_only=True)

    @folder.validator
    def _path(self, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, str | os.PathLike) or not os.fspath(value):
            raise _refuse("record", "is not the path of a folder")
