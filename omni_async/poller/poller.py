"""One schedule of many ids: one heap, one timer, a fixed set of workers, and waiters that share each look.

An id is looked at while somebody waits for it, or while a create waits for a task to finish. However many wait for an
id, one GET serves them all. A failed look delays that id and no other; only a finished status, or an answer that is
definite, ends the following of an id.
"""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import attrs

from .. import events
from ..dialects import Glance
from ..errors import DecodeError, GatewayError, NotFoundError, OmniError, TransportError
from ..exchange import Exchange, is_too_busy
from ..lifetime import background, loop_time
from ..limiter import POLL, Ticket
from ..models import VideoTask
from ..retry import backoff
from ..schedule import Schedule
from .agenda import Agenda
from .followed import Followed, Trouble, Waiter, run_time_of
from .known import Known
from .remarks import LOOKS, Remarks

logger = logging.getLogger("omni_async")

LEAD, MOST_TRIP = 1.5, 30.0
"""Typical round trips before a deadline at which the last look starts; the most seconds that one counts: as long as the
loop stands still, or the machine sleeps, none ends."""


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
        self._followed = Known(exchange.limiter.holds)
        self._agenda: Agenda[Followed] = Agenda(self._still_wanted)
        self._pump: asyncio.Task[None] | None = None
        self._now: Callable[[], float] = loop_time
        self._round_trip = 0.2
        self._remarks = Remarks()
        self._closed = self._begun = False
        self._stop_listening = exchange.limiter.on_starved(self._starved)

    @property
    def gateway(self) -> str:
        """Name of the gateway the ids run at."""
        return self._exchange.dialect.name

    @property
    def following(self) -> int:
        """Ids that are being looked at."""
        return self._followed.following

    def begin(self) -> None:
        """The client makes its first call: somebody will end it, so what closed ones have left can be taken over."""
        self._begun = True

    # --- interest ----------------------------------------------------------------------------------------------

    def submitted(self, task: VideoTask, traits: Sequence[str] = ()) -> None:
        """A task of ours was accepted: it is looked at once somebody is interested, counted from now.

        Args:
            task: The task.
            traits: What its run time may depend on, from general to special.
        """
        if task.task_id not in self._followed:
            course = self._schedule.course(tuple(traits))
            origin = attrs.evolve(task, raw=None)  # nobody may hold the answer but this
            self._followed.submitted(Followed(task.task_id, loop_time(), course, aged=True, origin=origin))
        if self._exchange.limiter.starving:
            self._starved()

    def follow(
        self,
        task_id: str,
        waiter: Waiter,
        *,
        origin: VideoTask | None = None,
        traits: Sequence[str] = (),
        age: float | None = None,
    ) -> VideoTask | None:
        """Tell a waiter of an id's end, and of its changes if he wants every one, until he lets go.

        Gives what is kept of the task as it was submitted or asked for.

        Args:
            task_id: The id.
            waiter: Who is told.
            origin: The task, as far as it is known.
            traits: As in `submitted`, for an id that was submitted elsewhere or earlier.
            age: Seconds since its submit, if that is known of such an id.
        """
        if self._closed:
            waiter.failed(task_id, OmniError("this client is closed; make a new one", task_id=task_id))
            return origin
        followed = self._followed.recall(task_id)
        if followed is None:
            # Submitted elsewhere, and it may have ended long ago: look at once.
            schedule, now = self._schedule, loop_time()
            course = schedule.ageless() if age is None else schedule.course(tuple(traits) or (self.gateway,))
            followed = Followed(task_id, now - (age or 0.0), course, aged=age is not None, origin=origin)
            self._followed[task_id] = followed
            self._due(followed, now, now)
        followed.origin = followed.origin or origin
        followed.join(waiter)
        rested, now = self._followed.wake(task_id), self._now()
        if waiter.every and rested and followed.planned <= now:
            followed.glance = None  # of long ago: the look that is due tells
        elif waiter.every and followed.looked and (last := followed.task(self.gateway)):
            waiter.changed(last)
        if followed.planned == math.inf:
            self._plan(followed, now)
        elif rested or followed.due > waiter.deadline - LEAD * self._round_trip:
            self._in_time(followed, max(followed.planned, now), now)
        return followed.origin

    def notice(self, task_id: str) -> None:
        """Somebody says that it has ended: look at once, or once anybody is interested, and trust the look alone."""
        followed, now = self._followed.seek(task_id), self._now()
        if followed is not None and followed.notice(now) and self._wanted(followed):
            self._put(followed, now)

    def queried(self, task: VideoTask) -> VideoTask:
        """Somebody looked by himself; gives back what he saw. An end is news to whoever waits, or will."""
        if task.status.finished:
            self.notice(task.task_id)
        return task

    def let_go(self, task_id: str, waiter: Waiter) -> VideoTask | None:
        """A waiter is no longer interested; gives what is known of the task."""
        followed = self._followed.get(task_id)
        if followed is None:
            return None
        known = followed.task(self.gateway)
        if followed.leave(waiter) and not followed.busy:
            self._park(followed)
        return known

    def missed(self, task_id: str) -> OmniError | None:
        """Why the last look at an id that is followed told nothing; None if it did, or there was none."""
        followed = self._followed.get(task_id)
        return None if followed is None else followed.missed

    def _park(self, followed: Followed) -> None:
        """Nobody waits: no more looks, unless a create waits for this task to finish."""
        if not self._wanted(followed):
            self._followed.park(followed)

    def _wanted(self, followed: Followed) -> bool:
        return bool(followed.waiters) or self._starves(followed)

    def _starves(self, followed: Followed) -> bool:
        """Whether a create waits for this task to finish."""
        limiter = self._exchange.limiter
        return limiter.starving and limiter.holds(followed.task_id)

    def _starved(self) -> None:
        """A create waits for a task to finish: the running ids are looked at without anybody waiting for them."""
        if not self._closed:
            for left in self._exchange.limiter.take_over(self._exchange.place) if self._begun else ():
                if left.task_id not in self._followed:
                    self._followed.submitted(left)
            for followed in self._followed.wake_all():
                self._plan(followed, self._now())

    # --- when --------------------------------------------------------------------------------------------------

    def _plan(self, followed: Followed, now: float) -> None:
        """Set when an id is due next."""
        last = followed.started if followed.looked is None else followed.looked
        awaited = self._exchange.limiter.run_time if self._starves(followed) else None
        course, at_once = followed.course, followed.noticed and followed.trouble is None
        age = last - followed.started
        interval = 0.0 if at_once else course.interval(age, followed.mark, self._rng, awaited=awaited)
        self._due(followed, max(last + interval, now), now, slack=course.slack * interval)

    def _due(self, followed: Followed, due: float, now: float, *, slack: float = 0.0) -> None:
        followed.planned = due
        self._in_time(followed, due, now, slack=slack)

    def _in_time(self, followed: Followed, due: float, now: float, *, slack: float = 0.0) -> None:
        """Put it on the heap; the last look before a deadline starts in time for its answer."""
        soonest = max(now + self._round_trip, self._schedule.soonest(followed.looked))
        due, left = followed.in_time(due, slack, lead=LEAD * self._round_trip, soonest=soonest)
        if not (due == followed.due > now and left == slack):  # else it stands on the heap already
            self._put(followed, due, slack=left)

    def _put(self, followed: Followed, due: float, *, slack: float = 0.0) -> None:
        if not self._closed:
            self._start()
            self._agenda.put(followed, due, slack=slack)

    def _still_wanted(self, followed: Followed) -> bool:
        if self._wanted(followed):
            return True
        self._park(followed)
        return False

    # --- looking -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._pump is None or self._pump.done():
            self._now = asyncio.get_running_loop().time
            self._pump = background(self._run())
            self._pump.add_done_callback(self._ended)

    async def _run(self) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(self._workers):
                group.start_soon(self._work)

    async def _work(self) -> None:
        agenda, limiter = self._agenda, self._exchange.limiter
        while True:
            followed = agenda.pop() or await agenda.take()
            if followed.waiters or self._starves(followed):
                ticket = limiter.try_acquire(POLL) or await limiter.acquire(POLL)
                if followed.waiters or self._starves(followed):
                    await self._look(followed, ticket)
                    continue
                limiter.unused(ticket)
            followed.busy = False  # whoever waited has gone meanwhile
            if self._wanted(followed):  # and what was given back let a create go: now another one waits for this task
                self._plan(followed, self._now())
            else:
                self._park(followed)

    async def _look(self, followed: Followed, ticket: Ticket) -> None:
        """One GET. Whatever goes wrong delays this id only."""
        exchange, began = self._exchange, self._now()
        followed.begins(began)
        try:
            try:
                look = exchange.look if followed.watchers else exchange.glance
                seen: VideoTask | Glance = await look(ticket, followed.task_id)
            except OmniError as error:
                self._missed(followed, error)
                return
            finally:
                followed.busy = False
            now = self._now()
            self._round_trip += 0.1 * (min(now - began, MOST_TRIP) - self._round_trip)
            followed.trouble = None
            if not isinstance(seen, VideoTask):
                self._runs(followed, seen, began, now)
            else:
                self._seen(followed, followed.owned(seen), began, now)
        except Exception:
            logger.exception("an unexpected error while looking at task %s; it is looked at again", followed.task_id)
            self._later(followed)

    def _seen(self, followed: Followed, task: VideoTask, began: float, now: float) -> None:
        glance = Glance(task.status, task.raw_status, task.progress)
        if not task.status.finished:
            self._remarks.word(task.raw_status, self._exchange.dialect)
            self._runs(followed, glance, began, now, task)
            return
        if self._exchange.report.wanted:
            self._report_look(followed, glance, now - began)
        self._finish(followed, task, began, now)

    def _runs(self, followed: Followed, look: Glance, began: float, now: float, task: VideoTask | None = None) -> None:
        """It runs still: when it is looked at next depends on what that tells."""
        if self._exchange.report.wanted:
            self._report_look(followed, look, now - began)
        if followed.glance != look:
            followed.glance = look
            if followed.watchers and (task := task or followed.task(self.gateway)):
                for waiter in tuple(followed.waiters):
                    if waiter.every:
                        waiter.changed(task)
        if followed.aged:
            age = began - followed.started
            followed.mark = followed.course.running(followed.seen, age, look.progress, followed.mark)
            followed.seen = age
        self._plan(followed, now)  # for whoever waits next, too
        if not followed.waiters:
            self._park(followed)

    def _report_look(self, followed: Followed, glance: Glance, took: float) -> None:
        report, told = self._exchange.report, followed.told(self.gateway, glance)
        report(events.Polled(raw_status=glance.raw_status, progress=glance.progress, seconds=took, **told))

    def _finish(self, followed: Followed, task: VideoTask, began: float, now: float) -> None:
        """A finished status is final: everybody is told, and it is not looked at again."""
        self._followed.pop(followed.task_id, None)
        self._exchange.limiter.finished(followed.task_id)
        seconds, lag = now - followed.started, None
        if followed.aged:
            try:
                told = run_time_of(task)
                lag = None if told is None else max(seconds - told, 0.0)
                followed.course.finished(followed.seen, began - followed.started, followed.mark, told=told)
            except Exception:  # a caller's own dialect; what is learned is worth less than the news
                logger.exception("nothing could be learned of the end of task %s", followed.task_id)
        if self._exchange.report.wanted:
            known = followed.told(self.gateway, task)
            self._exchange.report(events.Finished(error_code=task.error_code, seconds=seconds, lag=lag, **known))
        for waiter in followed.dismissed():
            waiter.changed(task)

    def _missed(self, followed: Followed, error: OmniError) -> None:
        """A look gave no status. Only what is definite, and confirmed, ends the following."""
        now = self._now()
        trouble = followed.trouble = followed.trouble or Trouble()
        if trouble.confirmed(error, now):
            self._abandon(followed, error)
            return
        if trouble.strikes(error) == LOOKS:
            self._remarks.unseen(followed.task_id, error, now)
        if is_too_busy(error):
            # The limiter slows everybody; this one comes back as soon as it lets go on, not all at the same moment.
            pause = max(getattr(error, "retry_after", None) or 0.0, backoff(trouble.failures, self._rng, cap=8.0))
            trouble.failures += 1
            self._due(followed, now + pause, now)
        elif isinstance(error, TransportError | GatewayError) and self._exchange.budget.spend():
            self._repeat(followed, trouble, error)
        else:
            self._later(followed, error)

    def _repeat(self, followed: Followed, trouble: Trouble, error: OmniError) -> None:
        """Soon again, out of the shared budget."""
        delay = backoff(trouble.failures, self._rng)
        trouble.failures += 1
        now = self._now()
        self._due(followed, now + delay, now)
        self._tell_repeat(followed, trouble, error, delay)

    def _tell_repeat(self, followed: Followed, trouble: Trouble, error: OmniError, delay: float) -> None:
        told: dict[str, Any] = {"task_id": followed.task_id, "attempt": trouble.failures, "delay": delay}
        if self._exchange.report.wanted:
            self._exchange.report(events.Retried(gateway=self.gateway, kind=POLL, reason=type(error).__name__, **told))

    def _later(self, followed: Followed, error: OmniError | None = None) -> None:
        trouble = followed.trouble = followed.trouble or Trouble()
        now, delay = self._now(), self._schedule.after_error(trouble.failures, self._rng)
        self._due(followed, now + delay, now)
        trouble.failures += 1
        if isinstance(error, NotFoundError):  # mistyped, perhaps: that is told before the grace is over
            self._tell_repeat(followed, trouble, error, delay)

    def _abandon(self, followed: Followed, error: OmniError) -> None:
        """It cannot be followed: its waiters are told, its slot is free."""
        self._followed.pop(followed.task_id, None)
        followed.due = math.inf
        if isinstance(error, NotFoundError | DecodeError):
            self._exchange.limiter.finished(followed.task_id, seen=False)
        for waiter in followed.dismissed():
            waiter.failed(followed.task_id, followed.error(error))

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
        for followed in self._followed.dismissed():
            waiters, followed.busy, followed.due = followed.dismissed(), False, math.inf
            for waiter in waiters:
                waiter.failed(followed.task_id, followed.error(error))

    async def aclose(self) -> None:
        """Stop looking; whoever still waits is told that the client was closed.

        What runs on is left to the other clients of the limiter: a create of theirs may wait for its slot.
        """
        self._closed = True
        self._stop_listening()
        self._dismiss(OmniError("the client was closed while this was waited for; the task goes on at the gateway"))
        self._exchange.limiter.leave(self._exchange.place, {one.task_id: one for one in self._followed.wake_all()})
        if self._pump is not None and not self._pump.done():
            self._pump.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({self._pump})
