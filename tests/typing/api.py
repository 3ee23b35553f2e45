"""Every public name as a user would write it: type-checked by `mypy --strict`, never run."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Unpack, assert_type

import aiohttp
from aiohttp import web

import omni_async
from omni_async import (
    AnswerLostError,
    ApiError,
    AuthenticationError,
    Balance,
    Checked,
    Completed,
    DecodeError,
    Dialect,
    Downloaded,
    DownloadError,
    Event,
    Fault,
    Finished,
    GatewayError,
    GeminiOmni,
    IntegrityError,
    InvalidRequestError,
    Jimmy,
    Journal,
    JournalError,
    Limiter,
    Limits,
    Many,
    ModelSpec,
    NotFoundError,
    NotSentError,
    OmniClient,
    OmniError,
    Outcome,
    Plan,
    Polled,
    PollPolicy,
    Prices,
    QuotaError,
    RateLimitError,
    Recording,
    Refused,
    RejectedError,
    RequestFields,
    ResultExpiredError,
    Resumed,
    Retried,
    RetryPolicy,
    SeenEvents,
    Stats,
    SubmissionUncertainError,
    Submitted,
    Summary,
    Sweep,
    SweepFields,
    TargetExistsError,
    TaskFailedError,
    TaskStatus,
    Throttled,
    Timeouts,
    ToApis,
    TransportError,
    Uncertain,
    UnsafeURLError,
    VideoRequest,
    VideoTask,
    WaitTimeoutError,
    Watch,
    WebhookError,
    WebhookEvent,
    run_batch,
    sweep_requests,
    verify_webhook,
)
from omni_async.emulator import Scenario, ThreadedEmulator
from omni_async.events import fan_out
from omni_async.otel import Telemetry
from omni_async.storage import storage_of

assert_type(omni_async.__version__, str)


async def the_main_job() -> None:
    """From text to file."""
    async with OmniClient(gateway="jimmy") as client:
        assert_type(client, OmniClient)
        task = await client.submit("a cat in neon rain", duration=6)
        assert_type(task, VideoTask)
        task = await client.wait(task)
        assert_type(await client.download(task, "cat.mp4"), Path)


def told(event: Event) -> None:
    """Each event's own fields."""
    match event:
        case Submitted():
            assert_type(event.task_id, str)
            assert_type(event.model, str | None)
        case Polled():
            assert_type(event.status, TaskStatus)
            assert_type(event.progress, int | None)
        case Finished():
            assert_type(event.error_code, str | None)
            assert_type(event.lag, float | None)
        case Throttled():
            assert_type(event.pause, float)
            assert_type(event.slots, int | None)
            assert_type(event.kind, Literal["create", "poll", "query"])
            assert_type(event.cause, Literal["window", "pace", "slots", "trial"])
        case Retried():
            assert_type(event.attempt, int)
        case Downloaded():
            assert_type(event.path, Path)
        case Uncertain():
            assert_type(event.candidate, str | None)
            assert_type(event.seconds, float)
    assert_type(event.gateway, str)
    assert_type(event.custom_id, str | None)
    assert_type(event.metadata, Mapping[str, Any])


async def observed() -> None:
    """Several consumers of events, OpenTelemetry among them."""
    telemetry = Telemetry(tracer_provider=None, meter_provider=None, poll_spans=False)
    async with telemetry.observe(OmniClient(on_event=fan_out(told, telemetry))) as client:
        assert_type(client, OmniClient)


def beside_any_loop() -> None:
    """The emulator for tests without pytest."""
    with ThreadedEmulator(Scenario(), task_seconds=0.2) as emulator:
        assert_type(emulator, ThreadedEmulator)
        assert_type(emulator.url, str)


async def fresh_key() -> str:
    """A key from somewhere."""
    return "key"


async def finished(task: VideoTask) -> None:
    """Told of each task that finished."""


def clients(session: aiohttp.ClientSession) -> list[OmniClient]:
    """Every argument."""
    shared = Limiter(Limits(max_connections=64, max_running_tasks=None, requests_per_second=12.5))
    first = OmniClient(
        gateway="toapis",
        api_key=fresh_key,
        base_url="http://127.0.0.1:8000",
        session=session,
        journal=None,
        limits=Limits(max_running_tasks=5),
        limiter=shared,
        poll=PollPolicy(min_interval=2.0, max_interval=20.0, fixed=None, lag_per_look=0.5),
        retry=RetryPolicy(attempts=3, max_wait=60.0, create_on_internal_error=False),
        record=Recording(Path("samples"), prompts=True),
        http_timeout=Timeouts(connect=10, create=120, query=30, read=30),
        proxy=None,
        allow_hosts=["http://127.0.0.1:8000"],
        headers={"X-Team": "film"},
        strict=False,
        keep_requests=True,
        on_event=told,
        on_finished=finished,
    )
    second = OmniClient("gemini_omni", api_key="key", limiter=first.limiter)
    own: Dialect = Jimmy()
    dialects: list[Dialect] = [own, GeminiOmni(), ToApis()]
    return [first, second, *(OmniClient(dialect, api_key=lambda: "key") for dialect in dialects)]


def models(dialect: Jimmy) -> tuple[ModelSpec, ...]:
    """The table a caller can override."""
    return tuple(dialect.models)


async def journalled(client: OmniClient) -> None:
    """What a client with a journal can do."""
    async for outcome in client.resume():
        assert_type(outcome, Outcome)
    async for outcome in client.resume(timeout=60):
        assert_type(outcome, Outcome)
    task = await client.settle("order-1", task_id="task_1")
    assert_type(task, VideoTask | None)
    await client.settle("order-2", not_charged=True)
    await client.settle("order-3", pay_again=True)
    OmniClient(journal="videos.sqlite3", on_finished=finished)
    OmniClient(journal=Path("videos.sqlite3"), keep_requests=False)


async def batches() -> None:
    """A sheet in one call."""
    summary = await run_batch("shots.csv", out="shots", api_key="key")
    assert_type(summary.done, int)
    assert_type(summary.ok, bool)
    assert_type(summary.paid, int)
    assert_type(summary.cost, float | None)
    rows: list[VideoRequest | Mapping[str, object]] = [VideoRequest(prompt="a cat"), {"id": "b", "prompt": "a dog"}]
    await run_batch(rows, out=Path("boats"), gateway="toapis", confirm=lambda plan: plan.to_pay < 10, limit=5)


async def following(client: OmniClient, task: VideoTask) -> None:
    """Tasks and ids alike."""
    assert_type(await client.query(task), VideoTask)
    assert_type(await client.query("task_1"), VideoTask)
    assert_type(await client.wait("task_1", timeout=None), VideoTask)
    async for seen in client.watch(task, min_interval=1.5, timeout=600):
        assert_type(seen, VideoTask)
    async for done in client.as_completed([task, "task_2"], timeout=3600):
        assert_type(done.status.finished, bool)
    watch = client.watch("task_1")
    await watch.aclose()


async def rows() -> AsyncIterator[dict[str, Any]]:
    """An async iterable of what submit takes."""
    yield {"prompt": "a cat", "custom_id": "row-1"}


async def making(client: OmniClient, request: VideoRequest) -> None:
    """One, or many at once."""
    assert_type(await client.submit(request, max_wait=3.0), VideoTask)
    assert_type(await client.submit({"prompt": "a cat"}, resolution="720p"), VideoTask)
    assert_type(await client.generate("a cat", timeout=900, output=Path("videos"), overwrite=True), VideoTask)
    async for outcome in client.generate_many(rows(), output="videos", timeout=None):
        assert_type(outcome, Outcome)
        assert_type(outcome.request, VideoRequest | None)
        assert_type(outcome.task, VideoTask | None)
        assert_type(outcome.error, OmniError | None)
        assert_type(outcome.path, Path | None)
        assert_type(outcome.ok, bool)
        assert_type(outcome.result().task_id, str)
    many = client.generate_many(["a cat", request])
    await many.aclose()
    for fault in client.check(request).warnings:
        assert_type(fault, Fault)


def progress(done: int, size: int | None) -> None:
    """Bytes so far, and in all."""


async def files(client: OmniClient, task: VideoTask) -> None:
    """Up, down, and what is left."""
    assert_type(await client.upload(Path("cat.png"), on_progress=progress), str)
    assert_type(await client.upload(b"cat", name="cat.png"), str)
    assert_type(await client.download(task, Path("cat.mp4"), overwrite=True, on_progress=progress), Path)
    assert_type(await client.download("https://cdn.example/v.mp4", "v.mp4"), Path)
    balance = await client.balance(scope="key")
    assert_type(balance, Balance)
    assert_type(balance.available, float | None)
    assert_type(balance.unlimited, bool)


def looking_in(client: OmniClient) -> None:
    """Snapshots."""
    stats = client.stats()
    assert_type(stats, Stats)
    assert_type(stats.in_flight, int)
    assert_type(stats.paused_until, datetime | None)
    assert_type(client.unclaimed(), tuple[Outcome, ...])
    assert_type(client.dialect, Dialect)


async def what_runs(client: OmniClient) -> None:
    """Tasks of the journal."""
    assert_type(await client.pending(), list[VideoTask])
    assert_type(await client.find("order-1"), VideoTask | None)


async def webhooks(client: OmniClient, request: web.Request, seen: SeenEvents) -> str | None:
    """What the gateway calls the app for."""
    try:
        event = verify_webhook(request.headers, await request.read(), secrets=["old", "new"], now=1.0, tolerance=60)
    except WebhookError as error:
        assert_type(error.explain("zh"), str)
        return str(error)
    assert_type(event, WebhookEvent)
    assert_type(event.status, TaskStatus)
    assert_type(event.task_type, str | None)
    assert_type(seen.add(event.id, now=1.0), bool)
    client.notify(event)
    client.notify(event.task_id)
    return event.model


def the_request() -> VideoRequest:
    """Every field."""
    return VideoRequest(
        prompt="a cat",
        model=None,
        duration=6,
        resolution="720p",
        aspect_ratio="16:9",
        orientation=None,
        image_urls=["https://cdn.example/a.png", Path("b.png")],
        images=(),
        video_urls="https://cdn.example/v.mp4",
        generation_type="reference",
        mode="reference-to-video",
        extra={"seed": 7},
        custom_id="row-1",
        metadata={"scene": 3},
    )


async def sweeps(request: VideoRequest) -> None:
    """Every combination, and on to a batch."""
    found = sweep_requests("a cat", gateway="toapis", duration=[4, 6], model=["gemini_omni", None])
    assert_type(found, Sweep)
    assert_type(found.requests, tuple[VideoRequest, ...])
    assert_type([fault.field for refused in found.refused for fault in refused.faults], list[str])
    await run_batch(sweep_requests(request, resolution=("720p", "1080p")).rows(), out="cats")
    await run_batch(found.requests, out="cats")


def why_not(refused: Refused) -> list[str]:
    """A combination that is not worth sending."""
    return [str(fault) for fault in refused.faults]


def swept(prompt: str, **fields: Unpack[SweepFields]) -> Sweep:
    """A caller's own function that passes fields on."""
    return sweep_requests(prompt, **fields)


class Screen:
    """What a caller's own code holds of what calls give, by the names it has."""

    watch: Watch
    completed: Completed
    many: Many
    resumed: Resumed
    checked: Checked
    summary: Summary

    def begin(self, client: OmniClient) -> None:
        """Each is what its call gives."""
        self.watch = client.watch("task_1")
        self.completed = client.as_completed(["task_1"])
        self.many = client.generate_many(["a cat"])
        self.resumed = client.resume()
        self.checked = client.check("a cat")

    async def batch(self, prices: Prices, journal: Journal) -> None:
        """What a batch takes, shows and gives; a client with a journal of the caller's own."""
        OmniClient(journal=journal)
        self.summary = await run_batch("shots.csv", prices=prices, confirm=self.confirm)

    def confirm(self, plan: Plan) -> bool:
        """Asked before anything is paid."""
        return plan.to_pay < 10


async def misspelt(client: OmniClient) -> None:
    """What a type checker finds before anything is paid; an ignore that is not needed is an error itself."""
    await client.submit("a cat", duratoin=6)  # type: ignore[call-arg]
    await client.generate("a cat", duration="6")  # type: ignore[arg-type]
    client.check("a cat", aspect_ration="16:9")  # type: ignore[call-arg]
    await run_batch("shots.csv", api_kye="key")  # type: ignore[call-arg]
    sweep_requests("a cat", duratoin=[4, 6])  # type: ignore[call-arg]
    sweep_requests("a cat", duration=["4", "6"])  # type: ignore[list-item]
    await client.balance(scope="user")  # type: ignore[arg-type]


async def wrapped(client: OmniClient, prompt: str, **fields: Unpack[RequestFields]) -> VideoTask:
    """A caller's own function that passes fields on."""
    return await client.generate(f"{prompt}, in one take", **fields)


def plain_data(fields: Mapping[str, object]) -> dict[str, Any]:
    """A request out of decoded JSON, and back."""
    request = VideoRequest.from_dict(fields)
    assert_type(request, VideoRequest)
    assert_type(VideoRequest.from_dict(fields, local_files=True), VideoRequest)
    return request.to_dict()


def handles(task: VideoTask) -> VideoTask:
    """What another process goes on with."""
    text: str = task.to_json()
    again = VideoTask.from_json(text)
    assert_type(again.created_at, datetime | None)
    assert_type(again.video_url, str | None)
    assert_type(again.status, TaskStatus)
    assert_type(TaskStatus.QUEUED.finished, bool)
    return again


async def refusals(job: Awaitable[VideoTask]) -> None:
    """What the gateway or the library refused."""
    try:
        await job
    except InvalidRequestError as error:
        assert_type(error.faults, tuple[Fault, ...])
        wrong: ValueError = error
        assert_type(wrong.args, tuple[Any, ...])
    except RateLimitError as error:
        assert_type(error.retry_after, float | None)
    except RejectedError as error:
        assert_type(error.moderated, bool)
    except (AuthenticationError, QuotaError, NotFoundError, GatewayError) as error:
        assert_type(error.status_code, int | None)
    except ApiError as error:
        assert_type(error.code, str | None)
        assert_type(error.message, str)


async def lost_or_odd(job: Awaitable[VideoTask]) -> None:
    """What got lost on the way, or came back odd."""
    try:
        await job
    except SubmissionUncertainError as error:
        assert_type(error.evidence, Mapping[str, Any])
    except NotSentError as error:
        assert_type(error.configuration, bool)
    except AnswerLostError as error:
        assert_type(error.timed_out, bool)
    except TransportError as error:
        assert_type(error.request_id, str | None)
    except DecodeError as error:
        assert_type(error.path, str)
        assert_type(error.excerpt, str)


async def ends(job: Awaitable[VideoTask]) -> str | None:
    """How tasks and downloads end, and what is common to all errors."""
    try:
        await job
    except TaskFailedError as error:
        assert_type(error.retryable, bool)
        assert_type(error.task, VideoTask)
    except WaitTimeoutError as error:
        assert_type(error.task, VideoTask | None)
        late: TimeoutError = error
        assert_type(error.waited, float)
        return str(late)
    except TargetExistsError as error:
        there: FileExistsError = error
        return str(there)
    except (UnsafeURLError, ResultExpiredError, IntegrityError) as error:
        broken: DownloadError = error
        return broken.task_id
    except JournalError as error:
        assert_type(error.kind, Literal["locked", "conflict", "damaged", "newer", "full", "setup", "noted", "failed"])
        return error.gateway
    except OmniError as error:
        assert_type(error.may_have_charged, bool)
        assert_type(error.custom_id, str | None)
        assert_type(error.metadata, Mapping[str, Any])
    return None


async def keeps(client: OmniClient, task: VideoTask) -> int | None:
    """Videos in object storage."""
    storage = storage_of("s3://bucket/videos", scratch=Path("scratch"), options={"profile": "videos"})
    await storage.check()
    stored = await storage.store(client, task, "EP01/SC03.mp4")
    assert_type(stored.sha256, str)
    return await storage.size("EP01/SC03.mp4")
