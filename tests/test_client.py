"""The one object a user holds: every call, every gateway, wherever it is opened, closed or misused."""

import asyncio
import gc
import inspect
import re
import subprocess
import sys
import textwrap
import warnings

import anyio
import anyio.to_thread
import pytest
import uvloop

from omni_async import (
    AuthenticationError,
    Balance,
    InvalidRequestError,
    JournalError,
    Limits,
    NotFoundError,
    OmniClient,
    OmniError,
    PollPolicy,
    RequestFields,
    Stats,
    TaskStatus,
    VideoTask,
)
from omni_async.emulator import Emulator
from omni_async.emulator.scenario import InjectedFault
from omni_async.journal import NoJournal
from tests.foreign import Foreign
from tests.warp import WarpLoop, run

GATEWAYS = ("jimmy", "gemini_omni", "toapis")
QUICK = PollPolicy(fixed=0.02)


@pytest.fixture(params=["warp", "uvloop"])
def anyio_backend(request):
    """Time jumps; and uvloop, where tasks are made to take no time worth waiting for."""
    return "asyncio", {"loop_factory": WarpLoop if request.param == "warp" else uvloop.new_event_loop}


@pytest.fixture
async def emulator():
    """One whose tasks are done at once."""
    async with Emulator(task_seconds=0.03, task_sigma=0.0) as emulator:
        yield emulator


def client_of(emulator, gateway="jimmy", **options):
    """A client of it, in no hurry to be started."""
    return OmniClient(gateway, api_key="key", base_url=emulator.url, **{"poll": QUICK, **options})


# --- every call --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gateway", GATEWAYS)
async def test_every_call_works(gateway, emulator, tmp_path):
    """Each call of the surface against each gateway."""
    picture = tmp_path / "cat.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n0000")
    events = []
    async with client_of(emulator, gateway, on_event=events.append) as client:
        task = await client.submit("a cat", custom_id="row-1", metadata={"scene": 3})
        assert (await client.query(task)).custom_id == "row-1"
        assert (await client.query(task.task_id)).custom_id is None
        done = await client.wait(task)
        assert (done.status, done.gateway, done.metadata) == (TaskStatus.SUCCEEDED, gateway, {"scene": 3})
        assert [one.status async for one in client.watch(done.task_id)] == [TaskStatus.SUCCEEDED]
        assert [one.task_id async for one in client.as_completed([task, done])] == [task.task_id]
        assert (await client.generate("a dog", output=tmp_path / "dog.mp4")).video_url
        rows = [one async for one in client.generate_many(["a", "b", "c"], output=tmp_path / "many")]
        assert [one.ok for one in rows] == [True] * 3
        assert await client.download(done, tmp_path / "cat.mp4") == tmp_path / "cat.mp4"
        assert await client.download(done.video_url, tmp_path / "again.mp4")
        assert await client.download(done.task_id, f"{tmp_path}/")
        if client.dialect.uploads is not None:
            assert (await client.upload(picture)).startswith("http")
        if gateway != "gemini_omni":
            assert isinstance(await client.balance(), Balance)
        stats = client.stats()
        assert isinstance(stats, Stats)
        assert (stats.gateway, stats.in_flight, stats.running, stats.following) == (gateway, 0, 0, 0)
        assert client.unclaimed() == ()
        assert client.check("a cat").faults == ()
        assert gateway in repr(client)
    assert {type(event).__name__ for event in events} >= {"Submitted", "Polled", "Finished", "Downloaded"}
    assert len(emulator.ledger.charges) == 5
    assert emulator.ledger.keys_at_files == 0


@pytest.mark.parametrize("path", [5, b"a.mp4", ["a"], object()])
async def test_what_is_no_path_is_told_before_anything_is_sent(emulator, path):
    """By the name of its argument, as an error of the library like any other."""
    async with OmniClient("jimmy", api_key="k", base_url=emulator.url) as client:
        calls = (
            lambda: client.generate("a cat", output=path),
            lambda: client.generate_many(["a cat"], output=path),
            lambda: client.download("task_1", path),
            lambda: client.upload([path]),  # bytes alone lack a name; see `test_references.py`
        )
        for call, name in zip(calls, ("output", "output", "path", "path"), strict=True):
            with pytest.raises(InvalidRequestError, match=f"{name}: .* is not a path"):
                await call()
    assert not emulator.ledger.requests


@pytest.mark.parametrize("wrong", [None, 7, b"task_1", ["task_1"]])
async def test_what_is_neither_a_task_nor_a_url_is_told_before_anything_is_sent(emulator, tmp_path, wrong):
    """As an error of the library; it may be a paid task's, so nothing is said of charges."""
    async with client_of(emulator) as client:
        with pytest.raises(InvalidRequestError, match=r"task_or_url: .* is neither a task nor a URL") as caught:
            await client.download(wrong, tmp_path / "v.mp4")
        assert caught.value.may_have_charged
    assert not emulator.ledger.requests


async def test_balances(emulator):
    """Of the account and of the key; another scope is refused before any I/O."""
    async with client_of(emulator) as client:
        await client.submit("a cat")
        assert (await client.balance()).used == 1.0
        assert (await client.balance(scope="key")).used == 1.0
        before = emulator.ledger.requests.total()
        with pytest.raises(InvalidRequestError, match="account"):
            await client.balance(scope="galaxy")
        assert emulator.ledger.requests.total() == before


async def test_a_refused_balance_charged_nothing(emulator):
    """A free call's error is proof of no charge."""
    emulator.scenario = type(emulator.scenario)(keys=("other",))
    async with client_of(emulator) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.balance()
        assert not caught.value.may_have_charged


async def test_a_query_of_an_unknown_id(emulator):
    """NotFoundError at once, with the id."""
    async with client_of(emulator) as client:
        with pytest.raises(NotFoundError) as caught:
            await client.query("task_nope")
        assert caught.value.task_id == "task_nope"


async def test_a_query_that_fails_carries_what_is_the_callers_own(emulator):
    """As the tasks of those that succeed do; of a bare id nothing is known."""
    async with client_of(emulator) as client:
        order = VideoTask(task_id="task_nope", custom_id="row-1", metadata={"scene": 3})
        for task, carried in ((order, ("row-1", {"scene": 3})), ("task_nope", (None, {}))):
            with pytest.raises(NotFoundError) as caught:
                await client.query(task)
            assert (caught.value.custom_id, caught.value.metadata) == carried


# --- life --------------------------------------------------------------------------------------------------------


async def test_opened_and_closed_in_different_tasks(emulator):
    """As test fixtures and web frameworks do."""
    client = client_of(emulator)

    async def first():
        async with asyncio.timeout(30):
            await client.__aenter__()
            return await client.submit("a cat")

    task = await asyncio.create_task(first())
    assert (await asyncio.create_task(client.wait(task))).status.finished
    await asyncio.create_task(client.aclose())
    await client.aclose()


async def test_started_by_the_first_call_and_never_started(emulator):
    """No `async with` is needed, nor is a client that did nothing any trouble to close."""
    client = client_of(emulator)
    assert "idle" in repr(client)
    task = await client.submit("a cat")
    assert "open" in repr(client)
    assert (await client.wait(task)).status.finished
    await client.aclose()
    assert "closed" in repr(client)
    await client_of(emulator).aclose()


@pytest.mark.parametrize(
    ("gateway", "dialect"), [("jimmy", "Jimmy"), ("gemini_omni", "GeminiOmni"), ("toapis", "ToApis")]
)
def test_what_a_client_is_made_of_shows_in_a_line(gateway, dialect):
    """In a debugger or a log: no tables of models or refusals."""
    client = OmniClient(gateway, api_key="key")
    shown = [repr(part) for part in (client.dialect, client.studio, client.studio.exchange)]
    assert shown == [f"<{dialect} {gateway}>", f"<Studio of {gateway}>", f"<Exchange with {gateway}>"]


async def test_nothing_is_left_of_a_closed_client(emulator):
    """No task of a client outlives it."""
    before = asyncio.all_tasks()
    async with client_of(emulator) as client:
        await asyncio.gather(*(client.generate(f"cat {i}") for i in range(5)))
        assert len(asyncio.all_tasks()) > len(before)
    await anyio.sleep(0.05)
    left = [task for task in asyncio.all_tasks() - before if "RequestHandler" not in repr(task)]
    assert left == []


async def test_a_closed_client_says_so(emulator, tmp_path):
    """Every call of a closed client is a clear error, and nothing is sent."""
    client = client_of(emulator)
    task = await client.submit("a cat")
    await client.aclose()
    before = emulator.ledger.requests.total()
    calls = [
        lambda: client.submit("a cat"),
        lambda: client.query(task),
        lambda: client.wait(task),
        lambda: client.generate("a cat"),
        lambda: client.download(task, tmp_path / "cat.mp4"),
        lambda: client.upload(tmp_path / "cat.png"),
        client.balance,
        client.__aenter__,
    ]
    for call in calls:
        with pytest.raises(OmniError, match="closed") as caught:
            await call()
        assert not caught.value.may_have_charged
    for make in (lambda: client.watch(task), lambda: client.as_completed([task]), lambda: client.generate_many([])):
        with pytest.raises(OmniError, match="closed"):
            make()
    assert emulator.ledger.requests.total() == before
    assert isinstance(client.stats(), Stats)
    assert client.unclaimed() == ()


async def test_a_create_whose_caller_has_gone_is_kept(emulator):
    """`unclaimed()` gives the task whose caller was cancelled."""
    emulator.scenario = type(emulator.scenario)(latency=0.1, task_seconds=0.03)
    async with client_of(emulator) as client:
        with anyio.move_on_after(0.05):
            await client.submit("a cat", custom_id="row-1")
        await anyio.sleep(0.2)
        (outcome,) = client.unclaimed()
        assert outcome.request.custom_id == outcome.task.custom_id == "row-1"
        assert client.stats().unclaimed == 1


async def test_uncertain_creates_are_counted(emulator):
    """A create whose answer was lost shows in the snapshot."""
    emulator.scenario = type(emulator.scenario)(faults=(InjectedFault("drop_after_accept"),))
    async with client_of(emulator) as client:
        with pytest.raises(OmniError) as caught:
            await client.submit("a cat")
        assert caught.value.may_have_charged
        assert client.stats().uncertain == 1
        assert client.stats().running == 1
    assert len(emulator.ledger.charges) == 1


async def test_a_failing_on_event_is_told_once(emulator, caplog):
    """What the caller's function raises harms nothing."""

    def broken(event):
        raise RuntimeError("mine")

    async with client_of(emulator, on_event=broken) as client:
        assert (await client.generate("a cat")).video_url
    assert sum("on_event" in record.getMessage() for record in caplog.records) == 1


async def test_an_on_event_that_fails_a_test_loses_nothing(emulator, caplog):
    """What is not an Exception, such as `pytest.fail()`, is swallowed as well: each row has its outcome."""
    async with client_of(emulator, on_event=lambda _event: pytest.fail("mine")) as client:
        assert [outcome.ok async for outcome in client.generate_many(["a cat", "a dog"])] == [True, True]
    assert caplog.text.count("on_event raised") == 1


async def test_a_client_that_is_dropped_open_says_so(emulator, monkeypatch):
    """Nobody can end it any more, and what it began goes on: as with a file or a session there is a warning."""
    gc.collect()  # other tests' garbage warns of its own
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
    warned = []
    monkeypatch.setattr(warnings, "warn", lambda _, kind=None, **_options: warned.append(kind))
    client = client_of(emulator)
    await client.generate("a cat")
    own, pump = client.studio.exchange.transport, client.studio.poller
    del client
    gc.collect()
    assert [text for text in told if "dropped without aclose()" in text]
    assert ResourceWarning in warned
    await pump.aclose()
    await own.aclose()


async def test_a_client_that_was_closed_or_never_started_says_nothing(emulator):
    """Warnings are errors here."""
    client = client_of(emulator)
    await client.generate("a cat")
    await client.aclose()
    client = client_of(emulator)
    del client
    gc.collect()


async def test_the_key_is_asked_again_once(emulator):
    """A callable key that the gateway refuses is asked for again, once."""
    emulator.scenario = type(emulator.scenario)(keys=("new",), task_seconds=0.03)
    keys = iter(["old", "new", "never"])
    async with OmniClient(api_key=lambda: next(keys), base_url=emulator.url, poll=QUICK) as client:
        assert (await client.generate("a cat")).video_url
    assert next(keys) == "never"


async def test_a_dialect_and_a_journal_of_ones_own(emulator):
    """Both are taken as objects; what is to be told at least once needs a file."""
    client = OmniClient(Foreign(), api_key="key", base_url=emulator.url, journal=NoJournal())
    assert client.dialect.name == "foreign"
    with pytest.raises(JournalError, match=r"keeps no journal file: .* a journal of your own is asked") as caught:
        client.resume()
    assert not caught.value.may_have_charged
    with pytest.raises(JournalError, match="keeps no journal"):
        await client.settle("a", not_charged=True)
    await client.aclose()
    with pytest.raises(InvalidRequestError, match="on_finished"):
        OmniClient(Foreign(), api_key="key", base_url=emulator.url, journal=NoJournal(), on_finished=print)


# --- where it does not belong ------------------------------------------------------------------------------------


def test_without_a_loop():
    """A call that needs none is served, another says what is missing; making a client needs no loop."""
    client = OmniClient(api_key="key", base_url="http://127.0.0.1:9")
    assert client.check("a cat").faults == ()
    assert client.stats().in_flight == 0
    with pytest.raises(OmniError, match="no event loop"):
        client.watch("task_1")


def test_another_loop_is_a_clear_error():
    """A client belongs to the loop of its first call."""
    kept = []

    async def begin():
        async with Emulator() as emulator:
            kept.append(client_of(emulator))
            await kept[0].submit("a cat")
            await anyio.to_thread.run_sync(elsewhere)
            await kept[0].aclose()

    def elsewhere():
        async def call():
            for call in (lambda: kept[0].submit("a cat"), kept[0].aclose):
                with pytest.raises(OmniError, match="another event loop") as caught:
                    await call()
                kept.append(caught.value.may_have_charged)

        run(call())

    run(begin())
    assert kept[1:] == [False, False]


def test_the_other_side_of_a_fork_is_a_clear_error():
    """A client that was started before a fork says so in the child, and goes on in the parent."""
    program = """
        import asyncio, os, sys
        from omni_async import OmniClient, OmniError
        from omni_async.emulator import Emulator

        async def main():
            async with Emulator() as emulator:
                unused = OmniClient(api_key="key", base_url=emulator.url)
                async with OmniClient(api_key="key", base_url=emulator.url) as client:
                    await client.submit("a cat")
                    child = os.fork()
                    if not child:
                        try:
                            asyncio.run(client.submit("a cat"))
                        except OmniError as error:
                            os._exit(0 if "another process" in str(error) and not error.may_have_charged else 1)
                        os._exit(2)
                    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                    await client.submit("another")
                    assert len(emulator.ledger.charges) == 2
                await unused.aclose()

        asyncio.run(main())
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("options", [{"limits": Limits(max_connections=1)}, {}])
async def test_limits_are_kept(options):
    """No more connections than allowed, however much is asked at once."""
    async with Emulator(task_seconds=0.03, latency=0.001) as emulator:
        async with client_of(emulator, **options) as client:
            await asyncio.gather(*(client.generate(f"cat {i}") for i in range(6)))
        assert emulator.ledger.peak_in_flight <= (1 if options else 64)


CALLS = [name for name, _ in inspect.getmembers(OmniClient, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("name", CALLS)
def test_each_argument_of_a_call_is_explained(name):
    """In its docstring, where an editor shows it; the fields of a request are the request's."""
    call = getattr(OmniClient, name)
    _, _, told = inspect.getdoc(call).partition("Args:\n")
    named = set(re.findall(r"^    (\w+): \S", told, re.MULTILINE))
    assert set(inspect.signature(call).parameters) - {"self", "fields"} <= named


@pytest.mark.parametrize("name", ["submit", "check", "generate"])
def test_the_fields_that_a_call_takes_are_named(name):
    """All of them, where `help` shows them, and where each is explained."""
    told = inspect.getdoc(getattr(OmniClient, name))
    assert set(re.findall(r"`(\w+)`", told)) >= set(RequestFields.__annotations__)
    assert "help(VideoRequest)" in told


async def test_a_misspelt_keyword_of_the_call_itself_is_named_too():
    """Of `generate` and `submit`, whose own keywords are not fields; in a mapping of fields they are not suggested."""
    async with OmniClient(api_key="sk-x") as client:
        for call, misspelt, meant in (
            (client.generate, "outptu", "output"),
            (client.generate, "timout", "timeout"),
            (client.submit, "max_wiat", "max_wait"),
        ):
            with pytest.raises(InvalidRequestError, match=f"{misspelt}: no such field; did you mean '{meant}'"):
                await call("a cat", **{misspelt: 1})
        with pytest.raises(InvalidRequestError, match="outptu: no such field; put what"):
            await client.generate({"prompt": "a cat", "outptu": 1})
