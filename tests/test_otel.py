"""OpenTelemetry's own exporters, in memory, on clients of the emulator."""

import gc
import subprocess
import sys
from collections import Counter
from contextvars import ContextVar
from pathlib import Path

import anyio
import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from omni_async import (
    Finished,
    OmniClient,
    Polled,
    PollPolicy,
    Submitted,
    TaskFailedError,
    TaskStatus,
    Throttled,
    VideoRequest,
)
from omni_async.emulator import Emulator, InjectedFault, Scenario
from omni_async.errors import OmniError, SubmissionUncertainError
from omni_async.events import Downloaded, Retried, Uncertain, fan_out
from omni_async.otel import MOST_FINISHED, Telemetry
from tests.warp import WarpLoop

LOOP = WarpLoop


class Backend:
    """What OpenTelemetry was given, as it would be exported."""

    def __init__(self, **options):
        self.exporter, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.traces, self.meters = TracerProvider(shutdown_on_exit=False), MeterProvider([self.reader])
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.telemetry = Telemetry(tracer_provider=self.traces, meter_provider=self.meters, **options)
        self.tracer = self.traces.get_tracer("of the user")

    @property
    def spans(self):
        """All spans, in the order of their ends."""
        return self.exporter.get_finished_spans()

    def named(self, operation):
        """The spans of one operation."""
        return [span for span in self.spans if span.name.split()[0] == operation]

    @property
    def metrics(self):
        """Points by the metric's name."""
        data = self.reader.get_metrics_data()
        found = data.resource_metrics if data is not None else ()
        every = (metric for resource in found for scope in resource.scope_metrics for metric in scope.metrics)
        return {metric.name: metric.data.data_points for metric in every}


@pytest.fixture
def backend():
    """OpenTelemetry in memory."""
    return Backend()


@pytest.fixture
async def emulator():
    """An emulator whose tasks take a minute."""
    async with Emulator(task_seconds=60, task_sigma=0) as emulator:
        yield emulator


def client_of(emulator, on_event, gateway="jimmy", **options):
    """A client that looks each 5 s."""
    options = {"api_key": "sk-CANARY-key", "poll": PollPolicy(fixed=5), **options}
    return OmniClient(gateway, base_url=emulator.url, on_event=on_event, **options)


# --- spans -----------------------------------------------------------------------------------------------------


async def test_a_video_is_one_trace_under_its_callers_span(backend, emulator, tmp_path):
    """Submit hangs under the caller's span; looks, the whole and the download under the submit, by their own times."""
    async with client_of(emulator, backend.telemetry) as client:
        with backend.tracer.start_as_current_span("order") as order:
            task = await client.submit("a cat", custom_id="row-1")
        await client.download(await client.wait(task), tmp_path / "cat.mp4")
    (submit,), polls = backend.named("submit"), backend.named("poll")
    (whole,), (download,) = backend.named("generate_content"), backend.named("download")
    assert submit.parent.span_id == order.get_span_context().span_id
    assert {span.parent.span_id for span in (*polls, whole, download)} == {submit.context.span_id}
    assert {span.context.trace_id for span in backend.spans} == {order.get_span_context().trace_id}
    assert len(polls) >= 10
    assert 55e9 < whole.end_time - whole.start_time < 75e9
    assert {span.kind.name for span in (submit, *polls, whole, download)} == {"CLIENT"}
    assert submit.name == f"submit {task.model}"
    assert {span.name for span in polls} == {f"poll {task.model}"}
    shared = {"gen_ai.provider.name": "jimmy", "gen_ai.request.model": task.model}
    shared |= {"omni_async.task.id": task.task_id, "omni_async.custom_id": "row-1"}
    for span in (submit, *polls, whole, download):
        assert shared.items() <= dict(span.attributes).items()
        assert span.status.status_code is StatusCode.UNSET
    assert whole.attributes["gen_ai.operation.name"] == "generate_content"
    assert whole.attributes["omni_async.task.polls"] == len(polls)
    assert whole.attributes["omni_async.task.lag"] <= 6
    assert polls[0].attributes["omni_async.task.status"] in {"queued", "running"}
    assert download.attributes["omni_async.download.size"] == (tmp_path / "cat.mp4").stat().st_size


async def test_two_tasks_are_two_traces(backend, emulator):
    """Where no span is around it, each submit begins a trace; one waiter's looks do not mix with another's."""
    async with client_of(emulator, backend.telemetry) as client:
        outcomes = [outcome async for outcome in client.generate_many(["a cat", "a dog"])]
    traces = {span.context.trace_id: span.attributes["omni_async.task.id"] for span in backend.named("submit")}
    assert sorted(traces.values()) == sorted(outcome.task.task_id for outcome in outcomes)
    assert all(traces[span.context.trace_id] == span.attributes["omni_async.task.id"] for span in backend.spans)


async def test_many_rows_share_the_span_they_were_asked_for_in(backend, emulator):
    """`generate_many` within a span: its submits hang under it."""
    async with client_of(emulator, backend.telemetry) as client:
        with backend.tracer.start_as_current_span("batch") as batch:
            assert [outcome.ok async for outcome in client.generate_many(["a cat", "a dog"])] == [True, True]
    assert {span.parent.span_id for span in backend.named("submit")} == {batch.get_span_context().span_id}


async def test_the_trace_outlives_a_restart_by_its_metadata(emulator, tmp_path):
    """What `propagate.inject` put into the metadata comes back from the journal with the task's events."""
    before, after = Backend(), Backend()
    with before.tracer.start_as_current_span("order") as order:
        metadata = {"chat": 4}
        propagate.inject(metadata)
    async with client_of(emulator, before.telemetry, journal=tmp_path / "j.sqlite3") as client:
        await client.submit("a cat", custom_id="row-1", metadata=metadata)
    async with client_of(emulator, after.telemetry, journal=tmp_path / "j.sqlite3") as client:
        assert [outcome.ok async for outcome in client.resume()] == [True]
    (submit,) = before.named("submit")
    assert submit.parent.span_id == order.get_span_context().span_id
    first, *others = after.spans
    assert first.parent.span_id == order.get_span_context().span_id
    assert {span.parent.span_id for span in others} == {first.context.span_id}


async def test_a_download_from_another_trace_has_a_link_to_it(backend, emulator, tmp_path):
    """It stays in its task's trace, and says from where it was asked for."""
    async with client_of(emulator, backend.telemetry) as client:
        task = await client.generate("a cat")
        with backend.tracer.start_as_current_span("request") as request:
            await client.download(task, tmp_path / "cat.mp4")
    (submit,), (download,) = backend.named("submit"), backend.named("download")
    assert download.context.trace_id == submit.context.trace_id
    assert [link.context.span_id for link in download.links] == [request.get_span_context().span_id]
    assert not submit.links


async def test_a_failed_task_is_an_error(backend, emulator):
    """The span over the whole has the gateway's code if there is one, and the metrics the status."""
    emulator.scenario = Scenario(task_seconds=10, faults=(InjectedFault("moderation"),))
    for gateway in ("toapis", "jimmy"):
        async with client_of(emulator, backend.telemetry, gateway) as client:
            with pytest.raises(TaskFailedError) as caught:
                await client.generate("a cat")
        whole = backend.named("generate_content")[-1]
        assert whole.status.status_code is StatusCode.ERROR
        assert whole.attributes["error.type"] == (caught.value.task.error_code or "failed")
    points = backend.metrics["omni_async.task.duration"]
    assert [point.attributes["omni_async.task.status"] for point in points] == ["failed"] * 2


async def test_an_uncertain_create_is_an_error_of_its_length(backend, emulator):
    """Its span covers the POST; it is counted."""
    emulator.scenario = Scenario(faults=(InjectedFault("hang", on="create", seconds=1000),))
    async with client_of(emulator, backend.telemetry) as client:
        with backend.tracer.start_as_current_span("order") as order, pytest.raises(SubmissionUncertainError):
            await client.submit("a cat", custom_id="row-1")
    (submit,) = backend.named("submit")
    assert submit.parent.span_id == order.get_span_context().span_id
    assert submit.status.status_code is StatusCode.ERROR
    assert submit.attributes["error.type"] == "uncertain"
    assert 119e9 < submit.end_time - submit.start_time < 121e9
    (point,) = backend.metrics["omni_async.client.uncertain_submits"]
    assert point.value == 1


async def test_polls_can_be_counted_without_spans(emulator):
    """`poll_spans=False`: the rest of the trace is there, and so are the numbers."""
    backend = Backend(poll_spans=False)
    async with client_of(emulator, backend.telemetry) as client:
        await client.generate("a cat")
    assert [span.name.split()[0] for span in backend.spans] == ["submit", "generate_content"]
    (polls,) = backend.metrics["omni_async.task.polls"]
    assert polls.sum >= 10
    (submits,) = (
        p for p in backend.metrics["omni_async.client.operation.duration"] if "submit" in p.attributes.values()
    )
    assert submits.count == 1


# --- metrics ---------------------------------------------------------------------------------------------------


async def test_the_load_of_observed_clients_is_reported(backend, emulator):
    """In flight, window, running tasks and what waits; what clients share by their limiter is counted once."""
    async with (
        backend.telemetry.observe(client_of(emulator, backend.telemetry)) as one,
        backend.telemetry.observe(client_of(emulator, backend.telemetry, limiter=one.limiter)) as two,
        backend.telemetry.observe(client_of(emulator, backend.telemetry, "toapis")) as other,
    ):
        tasks = [await one.submit("a cat"), await two.submit("a dog")]
        async with anyio.create_task_group() as group:
            group.start_soon(one.wait, tasks[0])
            group.start_soon(two.wait, tasks[1])
            await anyio.sleep(7)
            seen = backend.metrics
        stats = other.stats()
    points = {
        name: {point.attributes["gen_ai.provider.name"]: point.value for point in seen[f"omni_async.client.{name}"]}
        for name in ("active_requests", "request.limit", "running_tasks", "followed_tasks", "pending_submits")
    }
    assert points["running_tasks"] == {"jimmy": 2, "toapis": 0}
    assert points["followed_tasks"] == {"jimmy": 2, "toapis": 0}
    assert points["request.limit"]["toapis"] == stats.window
    assert points["active_requests"] == points["pending_submits"] == {"jimmy": 0, "toapis": 0}


async def test_two_consumers_of_one_provider_tell_of_both_their_clients(backend, emulator):
    """Each client may have a `Telemetry` of its own."""
    another = Telemetry(tracer_provider=backend.traces, meter_provider=backend.meters)
    async with (
        backend.telemetry.observe(client_of(emulator, backend.telemetry)) as one,
        another.observe(client_of(emulator, another)) as two,
    ):
        await one.submit("a cat")
        await two.submit("a dog")
        (running,) = backend.metrics["omni_async.client.running_tasks"]
    assert running.value == 2


async def test_a_client_that_is_gone_is_not_kept(backend, emulator):
    """Nothing but the caller holds a client."""
    client = backend.telemetry.observe(client_of(emulator, None))
    await client.aclose()
    assert "omni_async.client.request.limit" in backend.metrics
    del client
    gc.collect()
    assert "omni_async.client.request.limit" not in backend.metrics


async def test_pauses_and_repeats_are_counted(backend, emulator):
    """By what was refused, and which controller was adjusted."""
    faults = (
        InjectedFault("rate_limited", on="create", first=1, seconds=2),
        InjectedFault("html_502", on="query", first=2),
    )
    emulator.scenario = Scenario(task_seconds=20, faults=faults)
    events = []
    async with client_of(emulator, fan_out(events.append, backend.telemetry)) as client:
        await client.generate("a cat")
    heard = Counter(type(event) for event in events)
    seen = backend.metrics
    assert sum(point.count for point in seen["omni_async.client.pause.duration"]) == heard[Throttled] == 1
    assert sum(point.value for point in seen["omni_async.client.retries"]) == heard[Retried] == 2
    (pause,) = seen["omni_async.client.pause.duration"]
    assert pause.attributes["omni_async.operation"] == "submit"
    assert {point.attributes["omni_async.operation"] for point in seen["omni_async.client.retries"]} == {"poll"}


async def test_units_are_those_of_the_conventions(backend, emulator, tmp_path):
    """Seconds, bytes, and what is counted in braces; names are lower case with dots."""
    async with client_of(emulator, backend.telemetry) as client:
        backend.telemetry.observe(client)
        await client.generate("a cat", output=tmp_path)
        data = backend.reader.get_metrics_data()
    (scope,) = (scope for resource in data.resource_metrics for scope in resource.scope_metrics)
    assert scope.scope.name == "omni_async"
    units = {metric.name: metric.unit for metric in scope.metrics}
    assert {name for name, unit in units.items() if unit == "s"} >= {
        "omni_async.client.operation.duration",
        "omni_async.task.duration",
        "omni_async.task.lag",
    }
    assert set(units.values()) <= {"s", "By", "{request}", "{task}", "{submit}", "{poll}", "{retry}", "{request}/s"}
    assert all(name == name.lower() and name.startswith("omni_async.") for name in units)


# --- what it keeps, and keeps to itself ------------------------------------------------------------------------


async def test_nothing_secret_is_an_attribute(backend, emulator, tmp_path):
    """Prompts, keys, signed URLs, paths and metadata are in no span and no metric, whatever goes wrong."""
    faults = (
        InjectedFault("drop_after_accept", prompt="lost"),
        InjectedFault("fail", prompt="failing"),
        InjectedFault("refuse_moderation", prompt="refused"),
        InjectedFault("expired_url", first=1),
    )
    emulator.scenario = Scenario(task_seconds=10, faults=faults)
    async with backend.telemetry.observe(client_of(emulator, backend.telemetry)) as client:
        words = ("CANARY fine", "CANARY lost", "CANARY failing", "CANARY refused")
        requests = [VideoRequest(prompt=word, metadata={"note": "CANARY"}) for word in words]
        folder = tmp_path / "CANARY"
        outcomes = [outcome async for outcome in client.generate_many(requests, output=folder)]
        told = repr(backend.metrics)
    assert sum(outcome.ok for outcome in outcomes) == 1
    told += "".join(span.to_json() for span in backend.spans)
    assert backend.named("download")
    for secret in ("CANARY", "http://", "sig", "Bearer"):
        assert secret not in told


def test_what_is_remembered_is_bounded(backend):
    """Finished tasks are forgotten, the oldest first; a download after that is a trace of its own."""
    for n in range(MOST_FINISHED + 1):
        name = {"gateway": "jimmy", "task_id": f"task-{n}"}
        backend.telemetry(Finished(status=TaskStatus.SUCCEEDED, **name))
    for n in (0, 1):
        backend.telemetry(Downloaded(gateway="jimmy", task_id=f"task-{n}", path=Path("x"), size=1))
    wholes = {span.attributes["omni_async.task.id"]: span for span in backend.named("generate_content")}
    forgotten, known = backend.named("download")
    assert forgotten.parent is None
    assert known.parent.span_id == wholes["task-1"].context.span_id


def test_odd_events_do_no_harm(backend):
    """Metadata that is not text, no task id, an event of a later version."""
    odd = {"traceparent": 7, "tracestate": ["x"]}
    backend.telemetry(Uncertain(gateway="jimmy", reason="lost", metadata=odd))
    backend.telemetry(
        Downloaded(gateway="", task_id=None, path=Path("x"), size=1, metadata={"traceparent": "nonsense"})
    )
    backend.telemetry(Polled(gateway="jimmy", task_id="t", status=TaskStatus.RUNNING))
    backend.telemetry(object())
    assert [span.name for span in backend.spans] == ["submit", "download", "poll"]
    assert all(span.parent is None for span in backend.spans)


def test_without_an_sdk_it_costs_nothing_and_breaks_nothing():
    """The API alone: no provider is set, and nothing is recorded."""
    telemetry = Telemetry()
    telemetry(Submitted(gateway="jimmy", task_id="t"))
    telemetry(Finished(gateway="jimmy", task_id="t", status=TaskStatus.SUCCEEDED))
    assert not trace.get_current_span().get_span_context().is_valid


def test_nobody_else_pays_for_it():
    """A client imports nothing of OpenTelemetry; without the extra the module says what to install."""
    program = (
        "import sys; import omni_async; omni_async.OmniClient('jimmy', api_key='any');"
        "assert not any('opentelemetry' in name for name in sys.modules);"
        "sys.modules['opentelemetry'] = None; import omni_async.otel"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("omni_async.otel needs OpenTelemetry: pip install 'omni-async[otel]'")


async def test_events_about_a_create_are_told_in_its_callers_context(emulator):
    """Context variables of the request that submits, as loggers use them, are there in `on_event`."""
    request_id, seen = ContextVar("request_id", default=None), []
    emulator.scenario = Scenario(task_seconds=10, faults=(InjectedFault("drop_after_accept", prompt="lost"),))
    async with client_of(emulator, lambda event: seen.append((type(event), request_id.get()))) as client:
        for number, prompt in enumerate(("fine", "lost")):
            request_id.set(number)
            try:
                await client.submit(prompt)
            except OmniError:
                continue
    assert seen == [(Submitted, 0), (Uncertain, 1)]
