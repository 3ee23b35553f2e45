"""OpenTelemetry as a consumer of events: spans of each task in one trace, and metrics. Needs the extra `otel`.

Nothing but gateway, model, ids, the caller's `custom_id`, states, counts and times becomes an attribute: no prompt, no
key, no URL, no path, no metadata.
"""

import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import attrs

try:
    from opentelemetry import metrics, propagate, trace
except ImportError as error:
    raise ImportError("omni_async.otel needs OpenTelemetry: pip install 'omni-async[otel]'") from error
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Histogram, MeterProvider, Observation
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TracerProvider

from .bounded import Bounded
from .events import Downloaded, Event, Finished, Polled, Retried, Submitted, Throttled, Uncertain
from .models import Stats, TaskStatus
from .version import __version__

NAME = "omni_async"
MOST_RUNNING, MOST_FINISHED = 100_000, 10_000
"""Tasks remembered, for their trace and the number of their polls; finished ones for their download."""
LONGEST = 120
"""Letters of a gateway's own code that are kept."""

CALL_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
TASK_SECONDS = (5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
LAG_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 300.0)
POLLS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 50.0, 100.0)
SIZES = tuple(2.0**power for power in range(16, 34, 2))

Attributes = dict[str, Any]


class Observed(Protocol):
    """What is asked of a client: a snapshot, and the limiter, which several may share."""

    limiter: Any

    def stats(self) -> Stats:
        """Where it stands."""


Client = TypeVar("Client", bound=Observed)


class Telemetry:
    """Turns events into spans and metrics: `OmniClient(on_event=Telemetry())`.

    The span `submit` hangs under the span its caller was in, or else under the `traceparent` in the request's
    metadata (`opentelemetry.propagate.inject(metadata)`), which outlives restarts. What comes of the task follows in
    the same trace, under its `submit`: each `poll`, `generate_content` over the whole time, `download`. Of a task
    that was submitted elsewhere the first span here takes that place. A span whose caller is in another trace (a
    download in another request) has a link to it.

    Args:
        tracer_provider: The global one unless given.
        meter_provider: The global one unless given.
        poll_spans: Whether each look at a task is a span; the metrics count them all the same.
        clock: Unix time in nanoseconds; given by tests.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        poll_spans: bool = True,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        meter = metrics.get_meter(NAME, __version__, meter_provider)
        self._tracer = trace.get_tracer(NAME, __version__, tracer_provider)
        self._clients = _clients_of(meter_provider)
        self._instruments = _Instruments(meter)
        self._tasks = _Tasks()
        self._poll_spans, self._clock = poll_spans, clock
        self._consumers: dict[type[Event], Callable[[Any], None]] = {
            Submitted: self._submitted,
            Polled: self._polled,
            Finished: self._finished,
            Downloaded: self._downloaded,
            Uncertain: self._uncertain,
            Throttled: self._instruments.throttled,
            Retried: self._instruments.retried,
        }
        _gauges(meter, self._clients)

    def __call__(self, event: Event) -> None:
        """Take one event."""
        consumer = self._consumers.get(type(event))
        if consumer is not None:
            consumer(event)

    def observe(self, client: Client) -> Client:
        """Report a client's load with each collection of metrics, for as long as the client exists; gives it back.

        In flight, window, running tasks, pace and so on are not events: `client.stats()` is asked for them.
        """
        self._clients.add(client)
        return client

    # --- events ------------------------------------------------------------------------------------------------

    def _submitted(self, event: Submitted) -> None:
        task = self._tasks.add(event)
        task.model = event.model
        task.root = self._span("submit", event, task, event.seconds, {"omni_async.request.id": event.request_id})
        self._instruments.called("submit", event, event.seconds, task.model)

    def _polled(self, event: Polled) -> None:
        task = self._tasks.of(event)
        task.polls += 1
        self._instruments.called("poll", event, event.seconds, task.model)
        if self._poll_spans:
            seen = {"omni_async.task.status": event.status.value, "omni_async.task.progress": event.progress}
            self._span("poll", event, task, event.seconds, seen)

    def _finished(self, event: Finished) -> None:
        task = self._tasks.end(event)
        self._instruments.finished(event, task.model, task.polls)
        came_to = {
            "omni_async.task.status": event.status.value,
            "omni_async.task.polls": task.polls,
            "omni_async.task.lag": event.lag,
            "gen_ai.operation.name": "generate_content",
        }
        bad = None if event.status is TaskStatus.SUCCEEDED else (event.error_code or event.status.value)[:LONGEST]
        self._span("generate_content", event, task, event.seconds, came_to, error=bad)

    def _downloaded(self, event: Downloaded) -> None:
        task = self._tasks.of(event) if event.task_id else _Task()
        self._instruments.called("download", event, event.seconds, task.model)
        self._instruments.download_size.record(event.size, _known(event, task.model))
        self._span("download", event, task, event.seconds, {"omni_async.download.size": event.size})

    def _uncertain(self, event: Uncertain) -> None:
        self._instruments.uncertain.add(1, _known(event))
        self._instruments.called("submit", event, event.seconds, error="uncertain")
        told = {"omni_async.request.id": event.request_id, "omni_async.task.candidate": event.candidate}
        self._span("submit", event, _Task(), event.seconds, told, error="uncertain", why=event.reason)

    def _span(
        self,
        operation: str,
        event: Event,
        task: "_Task",
        seconds: float,
        attributes: Attributes,
        *,
        error: str | None = None,
        why: str | None = None,
    ) -> SpanContext:
        """A span of something that is over by now; what is None is left out of its attributes."""
        end = self._clock()
        ids = {"omni_async.task.id": getattr(event, "task_id", None), "omni_async.custom_id": event.custom_id}
        span = self._tracer.start_span(
            f"{operation} {task.model}" if task.model else operation,
            context=_parent(event, task),
            kind=SpanKind.CLIENT,
            attributes=_told({**_known(event, task.model), **ids, **attributes, "error.type": error}),
            links=_links(task),
            start_time=end - int(seconds * 1e9),
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, why))
        span.end(end)
        task.root = task.root or span.get_span_context()
        return span.get_span_context()


def _parent(event: Event, task: "_Task") -> Context | None:
    """Under what a span of the task hangs: its submit, the caller's span, or what the metadata says."""
    if task.root is not None:
        return trace.set_span_in_context(NonRecordingSpan(task.root), Context())
    if trace.get_current_span().get_span_context().is_valid:
        return None
    words = {name: event.metadata.get(name) for name in propagate.get_global_textmap().fields}
    return propagate.extract({name: word for name, word in words.items() if isinstance(word, str)}, Context())


def _links(task: "_Task") -> list[trace.Link]:
    """The caller's span, where that is in another trace than the task."""
    here = trace.get_current_span().get_span_context()
    elsewhere = task.root is not None and here.is_valid and here.trace_id != task.root.trace_id
    return [trace.Link(here)] if elsewhere else []


def _known(event: Event, model: str | None = None) -> Attributes:
    """What spans and metrics tell of every event."""
    return _told({"gen_ai.provider.name": event.gateway, "gen_ai.request.model": model})


def _told(attributes: Attributes) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}


# --- tasks -----------------------------------------------------------------------------------------------------


@attrs.define
class _Task:
    """What is remembered of a task."""

    model: str | None = None
    root: SpanContext | None = None
    polls: int = 0


class _Tasks:
    """The tasks of late, the oldest forgotten first."""

    def __init__(self) -> None:
        self._running: Bounded[tuple[str, str | None], _Task] = Bounded(MOST_RUNNING)
        self._over: Bounded[tuple[str, str | None], _Task] = Bounded(MOST_FINISHED)

    def add(self, event: Submitted | Polled | Downloaded) -> _Task:
        """A new task."""
        task = self._running[_key(event)] = _Task()
        return task

    def of(self, event: Polled | Downloaded) -> _Task:
        """The task of an event; a new one if it was never heard of."""
        return self._running.get(_key(event)) or self._over.get(_key(event)) or self.add(event)

    def end(self, event: Finished) -> _Task:
        """The task, over from now on."""
        task = self._over[_key(event)] = self._running.pop(_key(event), _Task())
        return task


def _key(event: Submitted | Polled | Finished | Downloaded) -> tuple[str, str | None]:
    return event.gateway, event.task_id


# --- metrics ---------------------------------------------------------------------------------------------------


class _Instruments:
    """What is recorded as it happens."""

    def __init__(self, meter: metrics.Meter) -> None:
        def histogram(name: str, unit: str, what: str, bounds: Iterable[float]) -> Histogram:
            return meter.create_histogram(name, unit, what, explicit_bucket_boundaries_advisory=[*bounds])

        self._operation = histogram(
            "omni_async.client.operation.duration", "s", "Time a submit, poll or download took", CALL_SECONDS
        )
        self._pause = histogram(
            "omni_async.client.pause.duration", "s", "Pauses after refusals; 0 where only the speed fell", LAG_SECONDS
        )
        self._duration = histogram("omni_async.task.duration", "s", "Time a task was followed to its end", TASK_SECONDS)
        self._lag = histogram("omni_async.task.lag", "s", "Time from a task's end to its being seen", LAG_SECONDS)
        self._polls = histogram("omni_async.task.polls", "{poll}", "Looks at a task until it was finished", POLLS)
        self.download_size = histogram("omni_async.client.download.size", "By", "Size of a downloaded video", SIZES)
        self._retries = meter.create_counter("omni_async.client.retries", "{retry}", "Calls that were made again")
        self.uncertain = meter.create_counter(
            "omni_async.client.uncertain_submits", "{submit}", "Submits that may have been charged and have no task id"
        )

    def called(
        self, operation: str, event: Event, seconds: float, model: str | None = None, *, error: str | None = None
    ) -> None:
        """A call of the gateway, or a download, is over."""
        about = {**_known(event, model), "omni_async.operation": operation, "error.type": error}
        self._operation.record(seconds, _told(about))

    def finished(self, event: Finished, model: str | None, polls: int) -> None:
        """A task is over."""
        about = {**_known(event, model), "omni_async.task.status": event.status.value}
        self._duration.record(event.seconds, about)
        if polls:
            self._polls.record(polls, about)
        if event.lag is not None:
            self._lag.record(event.lag, about)

    def throttled(self, event: Throttled) -> None:
        """The gateway refused for now."""
        about = {"omni_async.operation": _operation(event.kind), "omni_async.pause.cause": str(event.cause)}
        self._pause.record(event.pause, {**_known(event), **about})

    def retried(self, event: Retried) -> None:
        """Something is sent again."""
        about = {"omni_async.operation": _operation(event.kind), "error.type": event.reason[:LONGEST]}
        self._retries.add(1, {**_known(event), **about})


def _operation(kind: str) -> str:
    """An event's kind by the name of its span."""
    return {"create": "submit", "query": "poll"}.get(kind, str(kind))


LIMITER_GAUGES = {  # clients that share a limiter share these: counted once
    "in_flight": ("omni_async.client.active_requests", "{request}", "HTTP requests in flight"),
    "window": ("omni_async.client.request.limit", "{request}", "HTTP requests that may be in flight"),
    "running": ("omni_async.client.running_tasks", "{task}", "Tasks that run, submits in flight included"),
    "slots": ("omni_async.client.task.limit", "{task}", "Tasks the account is known to run at once"),
    "waiting_creates": ("omni_async.client.pending_submits", "{submit}", "Submits that wait for leave"),
    "pace": ("omni_async.client.request.rate_limit", "{request}/s", "Requests a second that are allowed, as found"),
}
CLIENT_GAUGES = {
    "following": ("omni_async.client.followed_tasks", "{task}", "Ids being looked at"),
    "unclaimed": ("omni_async.client.unclaimed_submits", "{submit}", "Submits that ended after their caller had gone"),
}


class _Clients:
    """The clients whose load one meter provider's gauges tell."""

    def __init__(self) -> None:
        self._known: list[weakref.ref[Observed]] = []

    def add(self, client: Observed) -> None:
        """One more, for as long as it exists."""
        self._known = [*(known for known in self._known if known() is not None), weakref.ref(client)]

    def stats(self) -> dict[str, list[tuple[int, Stats]]]:
        """Of each gateway the clients' snapshots, each with its limiter's identity. Called by the exporter's thread."""
        found: dict[str, list[tuple[int, Stats]]] = {}
        for client in filter(None, (known() for known in self._known)):
            stats = client.stats()
            found.setdefault(stats.gateway, []).append((id(client.limiter), stats))
        return found


# A provider knows each gauge once: the callbacks of a second `Telemetry` would be dropped without a word.
_of_providers: "weakref.WeakKeyDictionary[MeterProvider, _Clients]" = weakref.WeakKeyDictionary()
_of_the_global_one = _Clients()


def _clients_of(provider: MeterProvider | None) -> _Clients:
    return _of_the_global_one if provider is None else _of_providers.setdefault(provider, _Clients())


def _gauges(meter: metrics.Meter, clients: _Clients) -> None:
    """What is asked for with each collection."""

    def gauge(field: str, name: str, unit: str, what: str) -> None:
        def observed(_: CallbackOptions) -> Iterable[Observation]:
            for gateway, known in clients.stats().items():
                each = dict(known).values() if field in LIMITER_GAUGES else [snapshot for _, snapshot in known]
                values = [value for snapshot in each if (value := getattr(snapshot, field)) is not None]
                if values:
                    yield Observation(sum(values), {"gen_ai.provider.name": gateway})

        meter.create_observable_gauge(name, [observed], unit, what)

    for field, (name, unit, what) in (LIMITER_GAUGES | CLIENT_GAUGES).items():
        gauge(field, name, unit, what)
