"""One schedule of many ids: one heap, one timer, a fixed set of workers, and waiters that share each look.

An id is looked at while somebody waits for it, or while a create waits for a task to finish. However many wait for an
id, one GET serves them all. A failed look delays that id and no other; only a finished status, or an answer that is
definite, ends the following of an id.
"""

import asyncio
import contextvars
import copy
import logging
import math
import random
from typing import Any, Protocol

import anyio
import attrs

from .admission import Kind, Ticket
from .agenda import Agenda
from .errors import (
    DecodeError,
    GatewayError,
    NotFoundError,
    OmniError,
    RateLimitError,
    RejectedError,
    TransportError,
)
from .events import Finished, Polled, Retried
from .exchange import Exchange, is_unauthorized
from .models import VideoTask
from .retry import backoff
from .schedule import Schedule

logger = logging.getLogger("omni_async")

GRACE = 60.0
"""Seconds in which a gateway may not know a task yet that it has just accepted."""
CONFIRMATIONS = 3
"""How often a definite bad answer must come in a row before it is believed."""


class Waiter(Protocol):
    """Somebody interested in an id."""

    deadline: float
    """Loop time at which the interest ends; infinite for none."""

    def changed(self, task: VideoTask) -> None:
        """Status or progress is new; called with the finished task too."""

    def failed(self, task_id: str, error: OmniError) -> None:
        """The id cannot be followed."""


@attrs.define(eq=False)
class _Followed:
    """One id: what is known of it, when it is due, and who waits."""

    task_id: str
    started: float
    last: VideoTask | None = None
    due: float = math.inf
    looked: float | None = None
    origin: VideoTask | None = None
    waiters: list[Waiter] = attrs.field(factory=list)
    failures: int = 0
    bad_answers: int = 0
    missing_since: float | None = None
    busy: bool = False


class Poller:
    """Follows ids for whoever waits.

    Args:
        exchange: What looks go through.
        schedule: When to look.
        workers: Looks in flight at most.
    """

    def __init__(self, exchange: Exchange, schedule: Schedule, *, workers: int = 64) -> None:
        self._exchange = exchange
        self._schedule = schedule
        self._workers = workers
        self._rng: random.Random = exchange.rng
        self._followed: dict[str, _Followed] = {}
        self._parked: dict[str, _Followed] = {}
        self._agenda: Agenda[_Followed] = Agenda(self._still_wanted)
        self._pump: asyncio.Task[None] | None = None
        self._round_trip = 0.2
        self._unknown_words: set[str] = set()
        self._closed = False
        self._stop_listening = exchange.limiter.on_starved(self._starved)

    @property
    def gateway(self) -> str:
        """Name of the gateway the ids run at."""
        return self._exchange.dialect.name

    @property
    def following(self) -> int:
        """Ids that are being looked at."""
        return len(self._followed) - len(self._parked)

    # --- interest ----------------------------------------------------------------------------------------------

    def submitted(self, task: VideoTask) -> None:
        """A task of ours was accepted: it is looked at once somebody is interested, counted from now."""
        followed = self._followed.get(task.task_id)
        if followed is None:
            followed = _Followed(task.task_id, _now(), last=task, origin=task)
            self._followed[task.task_id] = self._parked[task.task_id] = followed
        if self._exchange.limiter.starving:
            self._starved()

    def follow(self, task_id: str, waiter: Waiter, *, origin: VideoTask | None = None) -> None:
        """Tell a waiter of every change of an id until it is finished or let go."""
        if self._closed:
            waiter.failed(task_id, OmniError("this client is closed; make a new one", task_id=task_id))
            return
        followed = self._followed.get(task_id)
        if followed is None:
            # Submitted elsewhere, nobody knows when: look at once.
            followed = _Followed(task_id, _now(), origin=origin)
            self._followed[task_id] = followed
            self._put(followed, followed.started)
        followed.origin = followed.origin or origin
        followed.waiters.append(waiter)
        if followed.looked and followed.last:
            waiter.changed(followed.last)
        if self._parked.pop(task_id, None) is not None:
            self._plan(followed)
        elif followed.due > self._last_look(waiter):
            self._plan(followed, keep=True)

    def let_go(self, task_id: str, waiter: Waiter) -> None:
        """A waiter is no longer interested."""
        followed = self._followed.get(task_id)
        if followed is not None and waiter in followed.waiters:
            followed.waiters.remove(waiter)
            if not followed.waiters and not followed.busy:
                self._park(followed)

    def _park(self, followed: _Followed) -> None:
        """Nobody waits: no more looks, unless a create waits for this task to finish."""
        if self._wanted(followed):
            return
        followed.due = math.inf
        if self._exchange.limiter.holds(followed.task_id):
            self._parked[followed.task_id] = followed
        else:
            self._followed.pop(followed.task_id, None)

    def _wanted(self, followed: _Followed) -> bool:
        return bool(followed.waiters) or self._starves(followed)

    def _starves(self, followed: _Followed) -> bool:
        """Whether a create waits for this task to finish."""
        limiter = self._exchange.limiter
        return limiter.starving and limiter.holds(followed.task_id)

    def _starved(self) -> None:
        """A create waits for a task to finish: the running ids are looked at without anybody waiting for them."""
        if self._parked and not self._closed:
            parked, self._parked = self._parked, {}
            for followed in parked.values():
                self._plan(followed)

    # --- when --------------------------------------------------------------------------------------------------

    def _plan(self, followed: _Followed, *, keep: bool = False) -> None:
        """Set when an id is due next; with `keep` no later than it is now."""
        now = _now()
        last = followed.started if followed.looked is None else followed.looked
        awaited = self._exchange.limiter.run_time if self._starves(followed) else None
        due = max(last + self._schedule.interval(last - followed.started, self._rng, awaited=awaited), now)
        self._due(followed, min(due, followed.due) if keep else due)

    def _due(self, followed: _Followed, due: float) -> None:
        """Put it on the heap; the last look before a deadline starts one typical round trip ahead of it."""
        now = _now()
        for waiter in followed.waiters:
            last = self._last_look(waiter)
            if now + self._round_trip < last < due:  # once: its own round trip moves this moment a little
                due = last
        self._put(followed, due)

    def _last_look(self, waiter: Waiter) -> float:
        return waiter.deadline - 1.5 * self._round_trip

    def _put(self, followed: _Followed, due: float) -> None:
        if not self._closed:
            self._start()
            self._agenda.put(followed, due)

    def _still_wanted(self, followed: _Followed) -> bool:
        if self._wanted(followed):
            return True
        self._park(followed)
        return False

    # --- looking -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._pump is None or self._pump.done():
            loop = asyncio.get_running_loop()
            self._pump = loop.create_task(self._run(), context=contextvars.Context())
            self._pump.add_done_callback(self._ended)

    async def _run(self) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(self._workers):
                group.start_soon(self._work)

    async def _work(self) -> None:
        agenda, limiter = self._agenda, self._exchange.limiter
        while True:
            followed = await agenda.take()
            ticket = await limiter.acquire(Kind.POLL)
            if self._wanted(followed):
                await self._look(followed, ticket)
            else:  # whoever waited has gone meanwhile
                limiter.unused(ticket)
                followed.busy = False
                self._park(followed)

    async def _look(self, followed: _Followed, ticket: Ticket) -> None:
        """One GET. Whatever goes wrong delays this id only."""
        began = _now()
        first, followed.looked = followed.looked is None, began
        try:
            try:
                task = await self._exchange.look(ticket, followed.task_id)
            finally:
                followed.busy = False
            took = _now() - began
            self._round_trip += 0.1 * (took - self._round_trip)
            self._seen(followed, task, took, first=first)
        except OmniError as error:
            self._missed(followed, error)
        except Exception:
            logger.exception("an unexpected error while looking at task %s; it is looked at again", followed.task_id)
            self._later(followed)

    def _seen(self, followed: _Followed, task: VideoTask, took: float, *, first: bool) -> None:
        followed.failures = followed.bad_answers = 0
        followed.missing_since = None
        last, origin = followed.last, followed.origin
        if origin is not None and (origin.custom_id is not None or origin.metadata):
            task = attrs.evolve(task, custom_id=origin.custom_id, metadata=origin.metadata)
        self._note_word(task.raw_status)
        self._report_look(task, took)
        followed.last = task
        if task.status.finished:
            self._finish(followed, task)
            return
        if first or last is None or _told(last) != _told(task):
            for waiter in tuple(followed.waiters):
                waiter.changed(task)
        if self._wanted(followed):
            self._plan(followed)
        else:
            self._park(followed)

    def _report_look(self, task: VideoTask, took: float) -> None:
        report = self._exchange.report
        if report.wanted:
            report(Polled(raw_status=task.raw_status, progress=task.progress, seconds=took, **_facts(task)))

    def _finish(self, followed: _Followed, task: VideoTask) -> None:
        """A finished status is final: everybody is told, and it is not looked at again."""
        self._followed.pop(followed.task_id, None)
        self._exchange.limiter.finished(followed.task_id)
        seconds = _now() - followed.started
        self._exchange.report(Finished(error_code=task.error_code, seconds=seconds, **_facts(task)))
        for waiter in tuple(followed.waiters):
            waiter.changed(task)

    def _note_word(self, word: str) -> None:
        if self._exchange.dialect.status(word) is None and word not in self._unknown_words:
            self._unknown_words.add(word)
            logger.warning("the gateway reports the unknown status %.40r; it is taken as still running", word)

    def _missed(self, followed: _Followed, error: OmniError) -> None:
        """A look gave no status. Only what is definite, and confirmed, ends the following."""
        now = _now()
        followed.bad_answers = followed.bad_answers + 1 if _definite(error) else 0
        if isinstance(error, NotFoundError):
            followed.missing_since = now if followed.missing_since is None else followed.missing_since
            if now - followed.missing_since >= GRACE:
                self._abandon(followed, error)
                return
        elif followed.bad_answers >= CONFIRMATIONS:
            self._abandon(followed, error)
            return
        if isinstance(error, RateLimitError):
            # The limiter slows everybody; this one comes back as soon as it lets go on, not all at the same moment.
            self._due(followed, now + max(error.retry_after or 0.0, backoff(followed.failures, self._rng, cap=8.0)))
            followed.failures += 1
        elif isinstance(error, TransportError | GatewayError) and self._exchange.budget.spend():
            self._repeat(followed, error)
        else:
            self._later(followed)

    def _repeat(self, followed: _Followed, error: OmniError) -> None:
        """Soon again, out of the shared budget."""
        delay = backoff(followed.failures, self._rng)
        followed.failures += 1
        self._due(followed, _now() + delay)
        self._exchange.report(
            Retried(
                gateway=self._exchange.dialect.name,
                kind=Kind.POLL,
                reason=type(error).__name__,
                attempt=followed.failures,
                delay=delay,
                task_id=followed.task_id,
            )
        )

    def _later(self, followed: _Followed) -> None:
        self._due(followed, _now() + self._schedule.after_error(followed.failures, self._rng))
        followed.failures += 1

    def _abandon(self, followed: _Followed, error: OmniError) -> None:
        """It cannot be followed: its waiters are told, its slot is free."""
        self._followed.pop(followed.task_id, None)
        followed.due = math.inf
        if isinstance(error, NotFoundError | DecodeError):
            self._exchange.limiter.finished(followed.task_id, seen=False)
        for waiter in tuple(followed.waiters):
            waiter.failed(followed.task_id, _for_task(error, followed))

    # --- the end -----------------------------------------------------------------------------------------------

    def _ended(self, pump: "asyncio.Task[None]") -> None:
        """The background task is over: if that was not meant, every waiter learns why."""
        if self._closed:
            return
        error = OmniError("the poller ended unexpectedly; wait for the id again")
        error.__cause__ = asyncio.CancelledError() if pump.cancelled() else pump.exception()
        self._dismiss(error)

    def _dismiss(self, error: OmniError) -> None:
        """Nothing is looked at any more, and whoever waits learns why; ids that hold slots are kept in mind."""
        self._agenda.clear()
        followed, self._followed, self._parked = self._followed, {}, {}
        for task_id, one in followed.items():
            waiters, one.waiters, one.busy, one.due = one.waiters, [], False, math.inf
            if self._exchange.limiter.holds(task_id):
                self._followed[task_id] = self._parked[task_id] = one
            for waiter in waiters:
                waiter.failed(task_id, _for_task(error, one))

    async def aclose(self) -> None:
        """Stop looking; whoever still waits is told that the client was closed."""
        self._closed = True
        self._stop_listening()
        self._dismiss(OmniError("the client was closed while this was waited for; the task goes on at the gateway"))
        if self._pump is not None and not self._pump.done():
            self._pump.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({self._pump})


def _facts(task: VideoTask) -> dict[str, Any]:
    """What all events about a task tell of it."""
    names = ("gateway", "custom_id", "metadata", "task_id", "status")
    return {name: getattr(task, name) for name in names}


def _now() -> float:
    """The loop's time; asked several times a look, so by the short way."""
    return asyncio.get_running_loop().time()


def _told(task: VideoTask) -> tuple[object, ...]:
    """What makes a change worth telling."""
    return task.status, task.progress, task.raw_status


def _definite(error: OmniError) -> bool:
    """Whether the gateway said something about this id that time will hardly change."""
    refused = isinstance(error, RejectedError) or is_unauthorized(error)
    return refused or (isinstance(error, DecodeError) and error.terminal)


def _for_task(error: OmniError, followed: _Followed) -> OmniError:
    """The error with the ids of this task; a copy of its own for each who raises it."""
    own = copy.copy(error)
    own.__cause__ = error.__cause__
    origin = followed.origin
    own.may_have_charged = True  # the task was accepted once, as far as anybody knows
    return own.about(
        task_id=followed.task_id,
        custom_id=origin.custom_id if origin else None,
        metadata=(origin.metadata or None) if origin else None,
    )
