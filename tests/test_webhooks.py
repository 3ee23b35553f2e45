"""Webhooks: what is genuine is read, anything else is one error that tells nothing, and an event is dealt with once."""

import asyncio
import copy
import hashlib
import hmac
import json
import math
import pickle
import time
import traceback

import pytest
from aiohttp import web
from dialects.samples import name, samples
from hypothesis import example, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from omni_async import (
    InvalidRequestError,
    OmniError,
    SeenEvents,
    TaskStatus,
    WebhookError,
    WebhookEvent,
    verify_webhook,
)
from tests.pairs import pair

NOW = 1_744_699_290.0
SECRET = "CANARY-SECRET-1"
ID, TIME, SIGNATURE = "X-ToAPIs-Webhook-Id", "X-ToAPIs-Webhook-Timestamp", "X-ToAPIs-Webhook-Signature"
EVENT = {
    "id": "evt_1",
    "type": "generation.completed",
    "data": {"task_id": "task_1", "task_type": "video", "model": "gemini_omni", "status": "completed"},
}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)


def signed(body, *keys, event_id="evt_1", at=NOW):
    """The headers of a webhook, signed as the documents say, written down here once more."""
    head = f"{event_id}.{int(at)}.".encode()
    each = [hmac.new(key.encode(), head + body, hashlib.sha256).hexdigest() for key in keys or (SECRET,)]
    return {ID: event_id, TIME: str(int(at)), SIGNATURE: ",".join(f"v1={one}" for one in each)}


def raw(event=EVENT):
    """An event as bytes."""
    return json.dumps(event).encode()


def read(headers, body, *, secrets=SECRET, now=NOW, **options):
    """What is read from a webhook."""
    return verify_webhook(headers, body, secrets=secrets, now=now, **options)


def refused(headers, body, **options):
    """The error of a webhook that is refused."""
    with pytest.raises(WebhookError) as caught:
        read(headers, body, **options)
    return caught.value


# --- what is genuine ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", samples("webhook"), ids=name)
def test_recorded_webhooks_are_read(sample):
    """A webhook as documented, byte for byte, also one signed with two keys of which one is known."""
    body = (sample.folder / "answer.json").read_bytes()
    event = read(sample.meta["headers"], body, secrets=sample.meta["secrets"], now=sample.meta["now"])
    assert {key: getattr(event, key) for key in sample.expected["event"]} == sample.expected["event"]
    assert event.raw == json.loads(body)


@given(
    event=st.fixed_dictionaries(
        {"id": st.from_regex(r"\A[!-~]{1,40}\Z"), "type": st.just("generation.failed"), "more": TEXTS},
    ),
    task_id=st.from_regex(r"\Atask_[a-z0-9]{1,20}\Z"),
    secret=TEXTS.filter(str.strip),
    off=st.integers(-300, 300),
)
@example(event={"id": "..", "type": "generation.failed"}, task_id="task_1", secret="s", off=0)  # no path is made of it
def test_what_is_signed_with_the_secret_is_accepted(event, task_id, secret, off):
    """Whatever the body, the id and the secret, and up to five minutes either way."""
    body = raw(event | {"data": {"task_id": task_id}})
    found = read(signed(body, secret, event_id=event["id"], at=NOW + off), body, secrets=[secret])
    assert (found.id, found.task_id, found.status) == (event["id"], task_id, TaskStatus.FAILED)


@given(data=st.data())
def test_one_changed_byte_anywhere_is_refused(data):
    """In the body, the id, the time or the signature: changed, left out or added."""
    body = raw()
    headers = signed(body)
    part = data.draw(st.sampled_from([ID, TIME, SIGNATURE, "body"]))
    whole = body if part == "body" else headers[part].encode()
    place = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.binary(max_size=2).filter(lambda new: new != whole[place : place + 1]))
    changed = whole[:place] + other + whole[place + 1 :]
    if part == "body":
        refused(headers, changed)
    elif changed.strip(b" \t,") != whole:  # around a list's items white space and commas mean nothing
        refused(headers | {part: changed.decode("latin-1")}, body)


@given(known=st.sets(st.sampled_from("abc"), min_size=1), used=st.sets(st.sampled_from("abc"), min_size=1))
def test_while_a_key_is_changed_one_that_both_sides_know_is_enough(known, used):
    """The sender may sign with two, the receiver may know two, and in which order does not matter."""
    body = raw()
    if known & used:
        assert read(signed(body, *used), body, secrets=known).id == "evt_1"
    else:
        refused(signed(body, *used), body, secrets=known)


def test_header_names_in_any_case_and_lists_in_several_lines():
    """As HTTP/2 writes them, as a server's multi-dict holds them, other versions of signature beside."""
    body = raw()
    headers = signed(body)
    assert read({key.lower(): value for key, value in headers.items()}, body)
    assert read({key.upper(): value for key, value in headers.items()}, body)
    assert read(CIMultiDict([*headers.items(), (SIGNATURE, "v1=" + "0" * 64)]), body)
    assert read(headers | {SIGNATURE: f"v2=abc , {headers[SIGNATURE]}, , v1=short"}, memoryview(body))


@pytest.mark.parametrize(("off", "good"), [(300, True), (-300, True), (301, False), (-301, False), (math.nan, False)])
def test_five_minutes_either_way(off, good):
    """The documents' tolerance, or the caller's; a clock that gives no number accepts nothing."""
    body = raw()
    if good:
        assert read(signed(body), body, now=NOW + off)
    else:
        assert "300 s off" in str(refused(signed(body), body, now=NOW + off))
        assert math.isnan(off) or read(signed(body), body, now=NOW + off, tolerance=400)


# --- what it says ------------------------------------------------------------------------------------------------


def with_data(**data):
    """The event with other data."""
    return EVENT | {"data": EVENT["data"] | data}


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (EVENT, TaskStatus.SUCCEEDED),
        (with_data(status="FAILED"), TaskStatus.FAILED),
        (with_data(status="a new word"), TaskStatus.SUCCEEDED),
        (with_data(status=None), TaskStatus.SUCCEEDED),
        (with_data(status=7) | {"type": "generation.failed"}, TaskStatus.FAILED),
        (with_data(status="") | {"type": "generation.canceled"}, TaskStatus.RUNNING),
    ],
)
def test_what_it_says_of_the_status(event, status):
    """The gateway's word, else the kind of event, else still running: a look tells."""
    assert read(signed(raw(event)), raw(event)).status is status


def test_what_need_not_be_there():
    """A task's kind and model are told if they are texts."""
    body = raw({"id": "evt_1", "type": "x", "data": {"task_id": "t", "model": 3}})
    event = read(signed(body), body)
    assert (event.task_type, event.model, event.status) == (None, None, TaskStatus.RUNNING)
    assert event == copy.deepcopy(event) == pickle.loads(pickle.dumps(event))  # noqa: S301 - our own
    assert hash(event) == hash(copy.copy(event))
    assert "data" not in repr(event)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        raw(EVENT | {"data": []}),
        raw(EVENT | {"id": 5}),
        raw(EVENT | {"id": " "}),
        raw(EVENT | {"type": None}),
        raw(with_data(task_id=None)),
        raw(with_data(task_id="..")),
        raw(with_data(task_id="\ud800")),
    ],
    ids=lambda body: repr(body)[:40],
)
def test_a_signed_body_that_names_no_task(body):
    """Refused, though it is signed."""
    assert "its body" in str(refused(signed(body), body))


@pytest.mark.parametrize(
    "changed",
    [
        {ID: None},
        {TIME: None},
        {SIGNATURE: None},
        {ID: ""},
        {ID: "e" * 256},
        {ID: "evt 1"},
        {ID: "evt_ä"},
        {ID: b"evt_1"},
        {TIME: "now"},
        {TIME: "-5"},
        {TIME: "1e9"},
        {TIME: "٣"},
        {TIME: "1" * 5000},
        {TIME: f"{NOW}"},
        {SIGNATURE: ""},
        {SIGNATURE: ",,,"},
        {SIGNATURE: "v1="},
        {SIGNATURE: "v1=" + "g" * 64},
        {SIGNATURE: "v1=\udc80"},
        {SIGNATURE: "v1=" + "é" * 64},
    ],
    ids=str,
)
def test_headers_that_are_malformed(changed):
    """One clear error, whatever stands in them."""
    body = raw()
    refused({key: value for key, value in (signed(body) | changed).items() if value is not None}, body)


def test_an_id_or_a_time_given_twice_is_no_id():
    """Which of the two was signed?"""
    body = raw()
    headers = signed(body)
    for twice in (ID, TIME):
        assert refused(CIMultiDict([*headers.items(), (twice, headers[twice])]), body)


def test_text_instead_of_bytes():
    """What was decoded cannot be checked any more, and the error says so."""
    assert "bytes received" in str(refused(signed(raw()), raw().decode()))


# --- what it does not tell ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body", "now"),
    [
        (signed(b"CANARY-BODY"), b"CANARY-BODY", NOW),
        (signed(b'{"CANARY-BODY": \xff'), b'{"CANARY-BODY": \xff', NOW),
        (signed(b"other"), b"CANARY-BODY", NOW),
        (signed(b"CANARY-BODY"), b"CANARY-BODY", 0.0),
        ({}, "CANARY-BODY", NOW),
    ],
    ids=["no JSON", "no text", "not signed", "old", "text"],
)
def test_the_error_holds_neither_secret_nor_body(headers, body, now):
    """Not in its text, its chain, its pickle, nor in the library's frames of a traceback with locals."""
    error = refused(headers, body, now=now)
    assert isinstance(error, OmniError)
    assert error.__cause__ is None
    assert error.__context__ is None
    frames = [trace for trace in walk(error.__traceback__) if "omni_async/" in trace.tb_frame.f_code.co_filename]
    assert frames
    shown = "".join(repr(trace.tb_frame.f_locals) for trace in frames)
    everything = (
        shown + str(error) + repr(error) + repr(pickle.dumps(error)) + "".join(traceback.format_exception(error))
    )
    assert "CANARY-SECRET" not in everything
    assert "CANARY-BODY" not in shown + str(error) + repr(vars(error))


def walk(trace):
    """Each frame of a traceback."""
    while trace is not None:
        yield trace
        trace = trace.tb_next


@pytest.mark.parametrize("secrets", ["", " ", [], [""], [SECRET, ""], None, [None], [b"bytes"]], ids=repr)
def test_without_a_secret_nothing_is_verified(secrets):
    """An empty one, as of a variable that is not set, would let anybody sign."""
    body = raw()
    with pytest.raises(InvalidRequestError) as caught:
        read(signed(body, ""), body, secrets=secrets)
    assert caught.value.faults[0].field == "secrets"
    assert SECRET not in str(caught.value)


# --- the same event again ----------------------------------------------------------------------------------------


def test_an_event_is_new_once():
    """Until it has grown old, or could not be dealt with."""
    seen = SeenEvents(age=600)
    assert seen.add("a", now=0)
    assert not seen.add("a", now=600)
    assert seen.add("a", now=601)
    seen.discard("a")
    seen.discard("never seen")
    assert seen.add("a", now=602)
    assert repr(seen) == "<SeenEvents 1 of at most 10000, kept 600 s>"


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5)), max_size=60), st.integers(1, 5))
def test_seen_events_are_bounded_and_agree_with_a_list(steps, most):
    """Never more than so many, never an old one, and the oldest go first."""
    seen, model, now = SeenEvents(age=10, most=most), [], 0
    for event, later in steps:
        now += later
        model = [(known, since) for known, since in model if now - since <= 10]
        new = event not in [known for known, _ in model]
        model = (model + [(event, now)] * new)[-most:]
        assert seen.add(str(event), now=now) is new
        assert len(seen) == len(model) <= most


def test_seen_events_that_could_hold_nothing():
    """Refused, with both faults."""
    with pytest.raises(InvalidRequestError) as caught:
        SeenEvents(age=0, most=0)
    assert [fault.field for fault in caught.value.faults] == ["age", "most"]


# --- the emulator's ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secrets", [("old", "new"), ("new",), ("old",)])
async def test_what_the_emulator_sends_is_genuine(secrets):
    """Headers as a server gives them, body as it came; sent again, it is the same event."""
    got = []

    async def handle(request):
        got.append(verify_webhook(request.headers, await request.read(), secrets=secrets, now=time.time()))
        return web.Response(status=500 if len(got) == 1 else 204)

    app = web.Application()
    app.router.add_post("/hook", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        async with pair("toapis", task_seconds=0.05, webhook_secret=("old", "new"), webhook_retry=0.01) as (_, client):
            task = await client.submit("a cat", extra={"callback_url": url})
            while len(got) < 2:  # noqa: ASYNC110 - what is waited for happens in the emulator
                await asyncio.sleep(0.01)
    finally:
        await runner.cleanup()
    assert got[0] == got[1]
    assert (type(got[0]), got[0].task_id, got[0].status) == (WebhookEvent, task.task_id, TaskStatus.SUCCEEDED)
