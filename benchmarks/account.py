"""A hidden account in virtual time: what refuses, what it costs to find out, hundreds of minutes in a second. Pure.

No loop, no sockets: the limiter's own arithmetic (`Admission`), or what others do instead, is driven by one heap of
events against an account that allows so much and tells nobody.
"""

import heapq
import itertools
import math
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Protocol

import attrs

from omni_async.emulator.limits import METERS
from omni_async.limiter import Admission, Decision, Kind, Ticket
from omni_async.policies import Limits
from omni_async.retry import backoff

POLL, CREATE = Kind.POLL, Kind.CREATE
Changing = tuple[tuple[float, float], ...]
"""A value that changes: (from when in seconds, value), the first from 0 on."""


def at(changing: Changing, now: float) -> float:
    """The value then."""
    value = math.inf
    for when, new in changing:
        if when > now:
            break
        value = new
    return value


def over(changing: Changing, start: float, end: float) -> float:
    """Its integral."""
    ends = [when for when, _ in changing[1:]] + [math.inf]
    pieces = ((max(when, start), min(stop, end), value) for (when, value), stop in zip(changing, ends, strict=True))
    return sum(value * (stop - begin) for begin, stop, value in pieces if stop > begin)


@attrs.frozen(kw_only=True)
class Scenario:
    """An account, a client's work, and the way between them. Seconds, and so many per second.

    Args:
        name: For the table.
        family: What it belongs to.
        rate: Requests per second it allows.
        creates: Creates per second it allows, counted apart.
        shared: Whether creates count as requests too.
        style: How it counts: `bucket`, `fixed` or `sliding` windows.
        burst: Windows' worth a bucket saves up, a request at least.
        window: Seconds for which it counts.
        concurrency: Requests it serves at once.
        running: Tasks it runs at once.
        chance: Part of the requests that it refuses whatever goes; and of which: all, or creates alone.
        closes: Whether it closes the connection instead of refusing.
        retry_after: What its refusals ask to wait; None if they do not say.
        outage: From when to when it answers with failures.
        latency: Median time of an answer, its spread (sigma of the logarithm), and the part spent on the way.
        tasks: How many to submit, and how long they run: median and sigma.
        followed: Ids that run already and for long.
        interval: Between two looks at a task; by default `lag` of its time.
        clients: Independent limiters of the same account; each has its part of the work.
        joins: When the second and later ones begin.
        until: When the look at it ends, unless all is done before.
        seed: Of everything random.
    """

    name: str
    family: str = ""
    rate: Changing = ()
    creates: Changing = ()
    shared: bool = True
    style: str = "bucket"
    burst: float = 1.0
    window: float = 1.0
    concurrency: Changing = ()
    running: Changing = ()
    chance: float = 0.0
    chance_of: str = "all"
    closes: bool = False
    retry_after: float | None = None
    outage: tuple[float, float] = (math.inf, math.inf)
    latency: tuple[float, float, float] = (0.05, 0.2, 0.2)
    tasks: tuple[int, float, float] = (0, 0.0, 0.0)
    followed: int = 0
    interval: float | None = None
    lag: float = 0.025
    clients: int = 1
    joins: float = 0.0
    until: float = 120.0
    seed: int = 0


STYLES = {"bucket": "token_bucket", "fixed": "fixed_window", "sliding": "sliding_window"}


class Allowance:
    """Counts against a changing rate, by one of the emulator's meters; what is refused does not count."""

    def __init__(self, rate: Changing, style: str, burst: float, window: float = 1.0) -> None:
        self._rate, self._burst, self._window = rate, burst, window
        self._meter = METERS[STYLES[style]]()

    def take(self, now: float) -> bool:
        """Whether one more is within the limit now; counts it if so."""
        rate = at(self._rate, now) * self._window
        return self._meter.take(now / self._window, rate, rate * self._burst)


class Policy(Protocol):
    """What decides when to send: the limiter, or what stands in its place."""

    @property
    def queues(self) -> Mapping[Kind, OrderedDict[Ticket, None]]: ...
    def admit(self, now: float) -> list[Ticket]: ...
    def next_time(self, now: float) -> float | None: ...
    def passed(self, ticket: Ticket, now: float) -> None: ...
    def accepted(self, ticket: Ticket, task_id: str, now: float) -> None: ...
    def refused(self, ticket: Ticket, now: float, *, wait: float | None = None) -> Decision: ...
    def failed(self, ticket: Ticket, now: float) -> None: ...
    def finished(self, task_id: str, now: float) -> bool: ...


@attrs.define(eq=False)
class Task:
    """One to submit or to follow: when it really ends, and how often its looks were refused in a row."""

    name: str
    runs: float
    ends: float = math.inf
    refusals: int = 0


@attrs.define
class Seen:
    """What the account saw, in bins of one second."""

    let_in: dict[int, int] = attrs.field(factory=dict)
    refused: dict[int, int] = attrs.field(factory=dict)
    refused_creates: list[float] = attrs.field(factory=list)
    let_in_creates: list[float] = attrs.field(factory=list)
    running: list[tuple[float, int]] = attrs.field(factory=list)
    by_client: dict[int, dict[int, int]] = attrs.field(factory=dict)
    finished: int = 0
    ended: float = 0.0
    sent: int = 0

    def count(self, start: float, end: float, *, refused: bool = False) -> int:
        """How many were let in, or refused, from second to second."""
        bins = self.refused if refused else self.let_in
        return sum(bins.get(second, 0) for second in range(int(start), int(end)))

    def count_creates(self, start: float, end: float) -> int:
        """How many creates were let in."""
        return sum(start <= at < end for at in self.let_in_creates)

    def mean_running(self, start: float, end: float) -> float:
        """Mean number of tasks running."""
        total, last, count = 0.0, start, 0
        for when, now in self.running:
            if when > start:
                total += count * (min(when, end) - last)
                last = min(when, end)
            count = now
            if when >= end:
                break
        return (total + count * max(end - last, 0.0)) / max(end - start, 1e-9)


class Simulation:
    """One scenario against one policy.

    Args:
        scenario: What to run.
        policy: Makes the policy of a client from its source of jitter; by default the limiter's.
        patient: Whether a refused create waits with the policy; else each refused request backs off by itself.
    """

    def __init__(
        self, scenario: Scenario, policy: Callable[[random.Random], Policy] | None = None, *, patient: bool = True
    ) -> None:
        self.scenario, self.seen, self._patient = scenario, Seen(), patient
        self._rng = random.Random(scenario.seed)
        make = policy or (lambda rng: Admission(Limits(), rng))
        self.clients: list[Policy] = [make(random.Random(scenario.seed + i)) for i in range(scenario.clients)]
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._order = itertools.count()
        self._rate = Allowance(scenario.rate, scenario.style, scenario.burst, scenario.window)
        self._creates = Allowance(scenario.creates, scenario.style, scenario.burst, scenario.window)
        self._timers = [math.inf] * scenario.clients
        self._serving = self._running = self._unfinished = 0
        self.now = 0.0

    def run(self) -> Seen:
        """Until all is done, or the look at it ends."""
        self._begin()
        while self._events and self._unfinished:
            self.now, _, call, arguments = heapq.heappop(self._events)
            if self.now > self.scenario.until:
                break
            call(*arguments)
        self.seen.ended = min(self.now, self.scenario.until)
        return self.seen

    def _begin(self) -> None:
        scenario = self.scenario
        count, median, sigma = scenario.tasks
        for i in range(scenario.followed + count):
            client = i % scenario.clients
            start = scenario.joins * client
            if i < scenario.followed:
                task, look = Task(f"old-{i}", math.inf), self._interval()
                self._at(start + self._rng.random() * look, self._ask, client, POLL, task)
            else:
                task = Task(f"new-{i}", median * math.exp(sigma * self._rng.gauss(0.0, 1.0)))
                self._at(start, self._ask, client, CREATE, task)
            self._unfinished += 1

    def _interval(self) -> float:
        scenario = self.scenario
        return scenario.interval if scenario.interval is not None else scenario.lag * scenario.tasks[1]

    def _at(self, when: float, call: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._events, (when, next(self._order), call, arguments))

    # --- the client ----------------------------------------------------------------------------------------------

    def _ask(self, client: int, kind: Kind, task: Task) -> None:
        ticket = Ticket(kind)
        ticket.waiter = task
        self.clients[client].queues[kind][ticket] = None
        self._pump(client)

    def _woken(self, client: int) -> None:
        if self._timers[client] <= self.now:
            self._timers[client] = math.inf
            self._pump(client)

    def _pump(self, client: int) -> None:
        policy = self.clients[client]
        for ticket in policy.admit(self.now):
            self.seen.sent += 1
            took, part = self._latency()
            way = took * part / 2.0
            self._at(self.now + way, self._arrives, client, ticket, took - 2.0 * way, way)
        again = policy.next_time(self.now)
        if again is not None and again < self._timers[client]:
            self._timers[client] = again
            self._at(again, self._woken, client)

    def _latency(self) -> tuple[float, float]:
        median, sigma, part = self.scenario.latency
        return median * math.exp(sigma * self._rng.gauss(0.0, 1.0)), part

    # --- the account ---------------------------------------------------------------------------------------------

    def _arrives(self, client: int, ticket: Ticket, serving: float, back: float) -> None:
        now, scenario, second = self.now, self.scenario, int(self.now)
        begins, ends = scenario.outage
        if begins <= now < ends:
            self._at(now + back, self._fails, client, ticket)
            return
        if not self._lets_in(ticket.kind):
            self.seen.refused[second] = self.seen.refused.get(second, 0) + 1
            if ticket.kind is CREATE:
                self.seen.refused_creates.append(now)
            self._at(now + back, self._fails if scenario.closes else self._refuses, client, ticket)
            return
        self.seen.let_in[second] = self.seen.let_in.get(second, 0) + 1
        own = self.seen.by_client.setdefault(client, {})
        own[second] = own.get(second, 0) + 1
        self._serving += 1
        task: Task = ticket.waiter
        if ticket.kind is CREATE:
            self.seen.let_in_creates.append(now)
            task.ends = now + task.runs
            self._count_running(1)
            self._at(task.ends, self._count_running, -1)
        done = task.ends <= now
        self._at(now + serving, self._served, client, ticket, back, done)

    def _lets_in(self, kind: Kind) -> bool:
        now, scenario = self.now, self.scenario
        meant = kind is CREATE or scenario.chance_of == "all"
        if scenario.chance and meant and self._rng.random() < scenario.chance:
            return False
        if scenario.concurrency and self._serving >= at(scenario.concurrency, now):
            return False
        if kind is CREATE and scenario.running and self._running >= at(scenario.running, now):
            return False
        if scenario.rate and (kind is POLL or scenario.shared) and not self._rate.take(now):
            return False
        return not (kind is CREATE and scenario.creates and not self._creates.take(now))

    def _count_running(self, change: int) -> None:
        self._running += change
        self.seen.running.append((self.now, self._running))

    def _served(self, client: int, ticket: Ticket, back: float, done: bool) -> None:
        self._serving -= 1
        self._at(self.now + back, self._answers, client, ticket, done)

    # --- the answer ----------------------------------------------------------------------------------------------

    def _answers(self, client: int, ticket: Ticket, done: bool) -> None:
        policy, task = self.clients[client], ticket.waiter
        task.refusals = 0
        if ticket.kind is CREATE:
            policy.accepted(ticket, task.name, self.now)
            self._at(self.now + min(self._first(task), self._interval()), self._ask, client, POLL, task)
        else:
            policy.passed(ticket, self.now)
            if done:
                policy.finished(task.name, self.now)
                self._unfinished -= 1
                self.seen.finished += 1
            else:
                self._at(self.now + self._interval(), self._ask, client, POLL, task)
        self._pump(client)

    def _first(self, task: Task) -> float:
        return task.runs / 2.0 if self.scenario.interval is None else math.inf

    def _refuses(self, client: int, ticket: Ticket) -> None:
        policy, task = self.clients[client], ticket.waiter
        decision = policy.refused(ticket, self.now, wait=self.scenario.retry_after)
        wait = 0.0
        if not self._patient:
            wait = max(self.scenario.retry_after or 0.0, backoff(task.refusals, self._rng, first=0.5, cap=8.0))
        elif ticket.kind is POLL:
            wait = max(decision.pause, backoff(task.refusals, self._rng, cap=8.0))
        task.refusals += 1
        self._at(self.now + wait, self._ask, client, ticket.kind, task)
        self._pump(client)

    def _fails(self, client: int, ticket: Ticket) -> None:
        policy, task = self.clients[client], ticket.waiter
        policy.failed(ticket, self.now)
        self._at(self.now + backoff(min(task.refusals, 4), self._rng), self._ask, client, ticket.kind, task)
        task.refusals += 1
        self._pump(client)
