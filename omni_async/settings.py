"""What a client is made of, from what its constructor is given."""

import inspect
import os
import re
from typing import Any

from . import journal as books
from .dialects import GATEWAYS, Dialect, dialect_named
from .errors import AuthenticationError, Fault, invalid_argument
from .keys import KeySource, sound_key
from .limiter import Limiter
from .policies import Limits, PollPolicy
from .schedule import PRICE, Schedule

POSTGRES = ("postgresql://", "postgres://")
KEYWORDS = r"\s*(?:host|hostaddr|port|dbname|user|password|passfile|service|sslmode)\s*="
"""An address in libpq's other form: as a file's name it would show its password, and no other host would share it."""
NO_FILE = r"(?is)\s*|(?:file:.*)?:memory:.*|file:.*mode=memory.*"
"""What SQLite takes for a database in memory, and what names none: as files they would outlive the program, or fail."""
CALLS = ("intend", "answered", "settle")
"""What a journal of the caller's own must answer."""


def check_callbacks(*, on_event: Any, on_finished: Any) -> None:
    """Refuse what cannot be called, and an async `on_event`: nobody would await it, and every event would be lost.

    Raises:
        InvalidRequestError: With every fault.
    """
    given = {"on_event": on_event, "on_finished": on_finished}
    faults = [
        Fault(name, f"must be a function, not {type(value).__name__}")
        for name, value in given.items()
        if value is not None and not callable(value)
    ]
    if inspect.iscoroutinefunction(on_event) or inspect.iscoroutinefunction(getattr(on_event, "__call__", None)):  # noqa: B004
        faults.append(Fault("on_event", "is async, and is called, not awaited: make it a plain function"))
    if faults:
        raise invalid_argument(*faults)


def shared(limiter: Limiter | None, limits: Limits) -> Limiter:
    """The limiter that was given, or one of these limits.

    Raises:
        InvalidRequestError: It was given with another rate or other connections than the limits say.
    """
    if limiter is None:
        return Limiter(limits)
    faults = []
    for name in ("requests_per_second", "max_connections"):
        asked, own = getattr(limits, name), getattr(limiter.limits, name)
        if asked not in (own, getattr(Limits(), name)):
            faults.append(Fault("limits", f"{name} is {asked}, and {own} in the limiter that was given: leave it out"))
    if faults:
        raise invalid_argument(*faults)
    return limiter


def dialect_of(gateway: str | Dialect) -> Dialect:
    """The dialect of a gateway's name, or the caller's own.

    Raises:
        InvalidRequestError: No such gateway.
    """
    if isinstance(gateway, Dialect):
        return gateway
    if isinstance(gateway, str) and gateway in GATEWAYS:
        return dialect_named(gateway)
    raise invalid_argument(Fault("gateway", f"{gateway!r} is not known", tuple(GATEWAYS)))


def base_url_of(dialect: Dialect, base_url: str | None) -> str:
    """Where the gateway is: as given, else from the environment, else its own address."""
    return base_url or os.environ.get(dialect.base_url_variable) or dialect.base_url


def key_of(dialect: Dialect, api_key: KeySource | None) -> KeySource:
    """The key as given, else from the environment.

    Raises:
        AuthenticationError: There is none; names the variable.
    """
    if callable(api_key):
        return api_key
    given = os.environ.get(dialect.key_variable, "") if api_key is None else api_key
    if api_key is not None or given.strip():
        return sound_key(given)
    raise AuthenticationError(  # set and empty, as by a .env file, is not set
        f"no API key: set the environment variable {dialect.key_variable} or pass api_key=… "
        "(the emulator takes any key)",
        gateway=dialect.name,
        may_have_charged=False,
    )


def schedule_of(dialect: Dialect, poll: PollPolicy) -> Schedule:
    """The dialect's advice, where the caller sets nothing else."""
    advice = dialect.abilities
    shortest = poll.min_interval or min(advice.min_interval, poll.max_interval or advice.min_interval)
    longest = max(poll.max_interval or advice.max_interval, shortest)
    return Schedule(
        first=shortest if poll.min_interval else min(advice.first_look, longest),
        shortest=shortest,
        longest=longest,
        fixed=poll.fixed,
        strict=poll.min_interval is not None,
        bounded=poll.max_interval is not None,
        price=poll.lag_per_look or PRICE,
    )


def journal_of(
    journal: books.Journal | str | os.PathLike[str] | None, *, gateway: str, on_finished: bool, room: int | None
) -> books.Journal:
    """The caller's journal: a file, an object of his own, or none.

    Raises:
        InvalidRequestError: `on_finished` without a journal file, an address that is none of PostgreSQL's, a name that
            means no file, or an object that does not answer a journal's calls: a missing one would trip after a create
            was paid.
    """
    if isinstance(journal, str | os.PathLike) and re.fullmatch(NO_FILE, os.fsdecode(journal)):
        raise invalid_argument(Fault("journal", f"{os.fsdecode(journal)!r}: a journal is a file; None keeps none"))
    if isinstance(journal, str) and ("://" in journal or re.match(KEYWORDS, journal)):
        if not journal.startswith(POSTGRES):
            raise invalid_argument(Fault("journal", "a file's path, or an address of PostgreSQL", POSTGRES))
        return books.PostgresJournal(journal, gateway=gateway, room=room, notify=on_finished)
    if isinstance(journal, str | os.PathLike):
        return books.SqliteJournal(journal, gateway=gateway, room=room, notify=on_finished)
    missing = [name for name in CALLS if journal is not None and not callable(getattr(journal, name, None))]
    if missing:
        told = f"a path, an address of PostgreSQL, or a journal of your own, which needs {', '.join(missing)} too"
        raise invalid_argument(Fault("journal", told))
    if on_finished and not isinstance(journal, books.LedgerJournal):
        raise invalid_argument(Fault("on_finished", "it is called for the tasks of a journal file, and there is none"))
    return journal if journal is not None else books.NoJournal()
