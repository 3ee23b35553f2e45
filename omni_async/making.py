"""A client put together from what its constructor is given, and taken apart at its end.

Loaded where `OmniClient` is first named, and not with its first call, which is made inside an event loop. What keeps a
journal's file is loaded with the first client that has one.
"""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import aiohttp

from .arguments import check_kinds
from .dialects import Dialect
from .events import OnEvent, OnFinished
from .exchange import Exchange
from .generate import Studio
from .journal import Journal, NoJournal
from .keys import Key, KeySource
from .lazy import Late
from .lifetime import Lifetime
from .limiter import Limiter
from .policies import Limits, PollPolicy, Recording, RetryPolicy, Timeouts
from .poller import Poller
from .references import References
from .reporter import Reporter
from .safety import check_proxy, origins
from .schedule import Schedule
from .settings import base_url_of, check_callbacks, dialect_of, journal_of, key_of, schedule_of, shared
from .submit import Submitter
from .transport import Transport

if TYPE_CHECKING:
    from .delivery import Delivery
    from .following import Follower


class ClientOptions(TypedDict, total=False):
    """Keywords of `OmniClient` that a batch and a fleet's worker pass on; see there for each."""

    api_key: KeySource | None
    base_url: str | None
    session: aiohttp.ClientSession | None
    poll: PollPolicy | None
    retry: RetryPolicy | None
    http_timeout: Timeouts | None
    proxy: str | None
    allow_hosts: Iterable[str]
    headers: Mapping[str, str] | None
    keep_requests: bool
    on_event: OnEvent | None
    on_finished: OnFinished | None
    record: Recording | str | os.PathLike[str] | None


class BatchOptions(ClientOptions, total=False):
    """The same for a batch, whose account may be shared with others of the process."""

    limiter: Limiter | None


class Settings(BatchOptions, total=False):
    """All keywords of `OmniClient`, whose signature spells them out."""

    journal: Journal | str | os.PathLike[str] | None
    limits: Limits | None
    strict: bool


KINDS: Mapping[str, type] = {
    "limits": Limits,
    "poll": PollPolicy,
    "retry": RetryPolicy,
    "http_timeout": Timeouts,
    "session": aiohttp.ClientSession,
    "limiter": Limiter,
    "headers": Mapping,
    "allow_hosts": Iterable,
}
"""What a setting must be, where it is given."""


def make(gateway: str | Dialect, **given: Unpack[Settings]) -> Studio:
    """The parts of a client, joined; see `OmniClient`, which gives every keyword."""
    check_kinds(**{name: (given.get(name), kind) for name, kind in KINDS.items()})
    on_finished, proxy = given["on_finished"], given["proxy"]
    check_callbacks(on_event=given["on_event"], on_finished=on_finished)
    dialect, limits = dialect_of(gateway), given["limits"] or Limits()
    limiter = shared(given["limiter"], limits)
    retry, timeouts = given["retry"] or RetryPolicy(), given["http_timeout"] or Timeouts()
    limiter.gives_up(create=timeouts.create)
    report = Reporter(given["on_event"])
    transport = _transport(
        given["record"],
        dialect=dialect,
        base_url=base_url_of(dialect, given["base_url"]),
        key=Key(key_of(dialect, given["api_key"])),
        session=given["session"],
        timeouts=timeouts,
        proxy=proxy,
        headers=given["headers"],
    )
    exchange = Exchange(dialect=dialect, transport=transport, limiter=limiter, retry=retry, report=report)
    schedule = schedule_of(dialect, given["poll"] or PollPolicy())
    poller = Poller(exchange, schedule, workers=limiter.limits.max_connections)
    room, tells = limits.max_running_tasks, on_finished is not None
    book = journal_of(given["journal"], gateway=dialect.name, on_finished=tells, room=room)
    follower = _follower(book, poller, exchange, schedule, on_finished)
    check_proxy(proxy)
    ways = {"allowed": origins(transport.base_url, given["allow_hosts"]), "proxy": proxy, "timeouts": timeouts}
    studio = Studio(
        exchange=exchange,
        submitter=Submitter(exchange, book, lambda task, request: studio.accepted(task, request)),
        poller=poller,
        references=References(exchange),
        delivery=Late(lambda: _delivery(studio, retry=retry, **ways)),
        follower=follower,
        keep=given["keep_requests"],
        strict=given["strict"],
        room=room,
        life=Lifetime(dialect.name, lambda: _end(studio), begin=lambda: _begin(studio)),
    )
    return studio


def _begin(studio: Studio) -> None:
    studio.poller.begin()
    if studio.follower is not None:
        studio.follower.start()


async def _end(studio: Studio) -> None:
    """What waits to be sent is not; POSTs in flight are waited for."""
    studio.exchange.waits.end()
    try:
        await studio.drain()
        await studio.references.aclose()
        await studio.unfollow()
        await studio.poller.aclose()
    finally:  # also when the loop itself is ended by a second Ctrl-C
        if studio.delivery.made is not None:
            await studio.delivery.made.aclose()
        await studio.exchange.transport.aclose()
        if studio.journal is not None:
            await studio.journal.aclose()


def _transport(record: Recording | str | os.PathLike[str] | None, **settings: Any) -> Transport:
    """What sends calls, and has them recorded if that was asked for: else nothing of it is even loaded."""
    if record is None:
        return Transport(**settings)
    from .recording import Recorder, RecordingTransport

    wanted = record if isinstance(record, Recording) else Recording(record)
    return RecordingTransport(Recorder(wanted.folder, prompts=wanted.prompts), **settings)


def _follower(
    journal: Journal, poller: Poller, exchange: Exchange, schedule: Schedule, on_finished: OnFinished | None
) -> "Follower | None":
    """Who follows the tasks of a journal's file, if there is one."""
    if isinstance(journal, NoJournal):
        return None
    from .following import Follower
    from .journal import LedgerJournal
    from .learned import Memory

    if not isinstance(journal, LedgerJournal):
        return None
    journal.read, exchange.namesakes.kept = exchange.dialect.read_create, journal.has_task
    return Follower(journal, poller, exchange, Memory(journal, schedule), on_finished)


def _delivery(studio: Studio, **ways: Any) -> "Delivery":
    """What stores videos, by way of a `Downloader` with these settings: nothing of it is loaded before."""
    from .delivery import Delivery
    from .files import Downloader

    exchange = studio.exchange
    return Delivery(
        query=exchange.query,
        downloader=Downloader(**ways),
        base_url=exchange.transport.base_url,
        emit=exchange.report if exchange.report.wanted else None,
        gateway=exchange.dialect.name,
        failed=studio.failure,
    )
