"""A session becomes samples, and the emulator gives the same session again; nothing secret is in them."""

import json
import logging
import os
import stat
import sys
import threading
import time
from datetime import UTC, datetime
from types import MappingProxyType

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async import InvalidRequestError, OmniClient, OmniError, PollPolicy, QuotaError, Recording, TaskFailedError
from omni_async.dialects import Call, CallKind, Reply
from omni_async.emulator import Emulator, InjectedFault
from omni_async.recording import MOST, Recorder
from omni_async.scrubbing import Scrubber, Taken
from tests.warp import WarpLoop

KEY = "kEyCANARY-0123456789"
PROMPT = "CANARY a heron at dawn"
QUICK = PollPolicy(fixed=0.05)
NOW = datetime(2026, 4, 15, tzinfo=UTC)

LOOP = WarpLoop


def client(emulator, gateway="jimmy", **settings):
    """A client of the emulator."""
    return OmniClient(gateway, api_key=KEY, base_url=emulator.url, poll=QUICK, **settings)


def samples(folder):
    """The samples of a folder, by their names."""
    return {str(file.relative_to(folder)): json.loads(file.read_text()) for file in sorted(folder.glob("*/*.json"))}


async def session(emulator, gateway, folder, record=None):
    """What a program sees of a few videos: each status, each error, a download, the balance."""
    seen = []
    async with client(emulator, gateway, record=record) as omni:
        for number, prompt in enumerate((PROMPT, PROMPT + " again", PROMPT + " that fails")):
            async for step in omni.watch(await omni.submit(prompt, duration=6)):
                seen.append((step.task_id, step.status, step.raw_status, step.progress, step.error_message))
            if step.video_url:
                path = await omni.download(step, folder / f"{number}.mp4", overwrite=True)
                seen.append(path.read_bytes()[4:8])
        with pytest.raises(TaskFailedError) as caught:
            await omni.wait(step.task_id)
        seen += [caught.value.args[0], caught.value.moderated, (await omni.balance()).available]
    return seen


@pytest.mark.parametrize("gateway", ["jimmy", "gemini_omni", "toapis"])
async def test_a_recorded_session_is_played_again(gateway, tmp_path):
    """The same program sees the same ids, statuses, progress, failures and balance, and may download."""
    samples_folder = tmp_path / "samples"
    fails = InjectedFault("moderation", prompt="that fails")
    async with Emulator(task_seconds=1.0, faults=(fails,)) as emulator:
        seen = await session(emulator, gateway, tmp_path, samples_folder)
        paid = [charge.task_id for charge in emulator.ledger.charges]
    async with Emulator(replay=samples_folder) as replayed:
        assert await session(replayed, gateway, tmp_path) == seen
        assert [charge.task_id for charge in replayed.ledger.charges] == paid


async def test_what_was_refused_and_lost_is_played_again(tmp_path):
    """Refusals for now, for the balance, and a lost answer: the same errors, and nothing charged that was not."""
    faults = (
        InjectedFault("rate_limited", first=1, seconds=0.1),
        InjectedFault("drop_after_accept", first=1, prompt="lost"),
    )

    async def tried(emulator, record=None):
        told = []
        async with client(emulator, record=record) as omni:
            for prompt in ("first", "lost", "no money for it"):
                try:
                    told.append((await omni.submit(prompt)).task_id)
                except OmniError as error:
                    told.append((type(error), error.may_have_charged, str(error).partition(" (gateway")[0]))
        return told

    async with Emulator(faults=faults, balance=2.0) as emulator:
        told = await tried(emulator, tmp_path)
    assert told[2][0] is QuotaError
    async with Emulator(replay=tmp_path) as replayed:
        assert await tried(replayed) == told


async def test_what_was_not_recorded_is_refused(tmp_path):
    """More creates than were recorded, and tasks that were not, are refused; nothing is made up."""
    async with Emulator() as emulator, client(emulator, record=tmp_path) as omni:
        await omni.submit("a cat")
    async with Emulator(replay=tmp_path) as replayed, client(replayed) as omni:
        await omni.submit("another cat")
        with pytest.raises(OmniError, match="nothing more of it was recorded"):
            await omni.submit("a third")
        with pytest.raises(OmniError, match="任务不存在"):
            await omni.query("task_unknown")


async def test_creates_are_known_by_their_settings(tmp_path):
    """In another order each still gets its own answer."""
    ids = {}
    async with Emulator() as emulator, client(emulator, record=tmp_path) as omni:
        for seconds in (4, 6, 8):
            ids[seconds] = (await omni.submit("a cat", duration=seconds)).task_id
    async with Emulator(replay=tmp_path) as replayed, client(replayed) as omni:
        assert {s: (await omni.submit("a dog", duration=s)).task_id for s in (8, 4, 6)} == ids


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"meta": {}, "call": {}}', "{"])
def test_a_file_that_is_no_sample_is_named(content, tmp_path):
    """So is a folder that holds none."""
    with pytest.raises(ValueError, match="holds no recorded samples"):
        Emulator(replay=tmp_path)
    (tmp_path / "jimmy").mkdir()
    (tmp_path / "jimmy" / "000001-create.json").write_text(content)
    with pytest.raises(ValueError, match=r"000001-create\.json is not a recorded sample"):
        Emulator(replay=tmp_path)


async def test_no_file_holds_a_secret(tmp_path):
    """Neither key nor prompt nor a link's query is in any file, and only their owner may read them."""
    async with Emulator(task_seconds=0.2) as emulator, client(emulator, record=tmp_path / "kept") as omni:
        picture = "https://user:CANARY@pictures.example/CANARY.png?X-Signature=CANARY"
        request = {"image_urls": [picture], "extra": {"callback": "CANARY"}, "custom_id": "CANARY"}
        task = await omni.wait(await omni.submit(PROMPT, **request))
        assert "?" in task.video_url
    files = sorted((tmp_path / "kept").glob("*/*"))
    assert len(files) > 2
    for file in files:
        text = file.read_text()
        assert "CANARY" not in text
        assert "?" not in text
        if os.name == "posix":
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    create = samples(tmp_path / "kept")["jimmy/000001-create.json"]
    assert create["call"]["body"] == {
        "model": "Gemini-Omini",
        "prompt": "prompt 1",
        "image_urls": ["https://link.example/1"],
        "callback": "…",
    }


SECRET = st.text(st.characters(min_codepoint=33, max_codepoint=0x9FFF, categories=["L", "N", "P"]), min_size=4).map(
    lambda text: f"CANARY{text}"
)
PLACES = [
    "msg",
    "message",
    "error_message",
    "error",
    "prompt",
    "input",
    "data",
    "code",
    "status",
    "url",
    "video_url",
    "x",
]


def anywhere(secrets):
    """JSON in which the secrets stand anywhere, alone and inside other texts."""
    texts = st.tuples(st.sampled_from(["", "your prompt: ", "（"]), st.sampled_from(secrets)).map("".join)
    return st.recursive(
        texts | st.integers() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PLACES), inner, max_size=4),
        max_leaves=12,
    )


@given(data=st.data(), prompt=SECRET, name=SECRET)
def test_nothing_secret_survives_wherever_it_stands(data, prompt, name):
    """Prompts, keys and signatures in any field of what was sent and of what came back."""
    key, link = f"sk-{name}", f"https://u:{name}@cdn.example/{name}?sig={name}"
    quoted = data.draw(anywhere([prompt, f"Bearer {name}", key, link]))
    extra = data.draw(st.dictionaries(st.sampled_from(["note", "callback_url", "seed"]), anywhere([prompt, link])))
    call = Call(kind=CallKind.CREATE, method="POST", path="/v", body={"prompt": prompt, "image_urls": [link], **extra})
    headers = {"content-type": "application/json", "set-cookie": name, "retry-after": "3"}
    reply = Reply(status=200, headers=headers, body=json.dumps(quoted).encode())
    written = json.dumps(Scrubber().sample(Taken(gateway="jimmy", call=call, reply=reply, at=NOW)), ensure_ascii=False)
    assert "CANARY" not in written
    assert "sig=" not in written


def taken(body, *, kind=CallKind.QUERY, **reply):
    """An exchange whose answer has this body."""
    call = Call(kind=kind, method="GET", path="/v/t", params={"a": "CANARY"})
    return Taken(gateway="jimmy", call=call, reply=Reply(status=200, body=body, **reply), at=NOW)


def test_what_is_no_json_is_not_kept():
    """A page or a broken body may hold anything; its status and type are kept."""
    sample = Scrubber().sample(taken(b"<html>CANARY", headers={"content-type": "text/html"}))
    assert sample["answer"] is None
    assert sample["meta"]["headers"] == {"content-type": "text/html"}
    assert "CANARY" not in json.dumps(sample)


def test_prompts_are_kept_if_that_is_asked_for():
    """Then references are, too, without what can be signed."""
    body = {"prompt": "a cat", "image_urls": ["https://a.example/b.png?sig=1"]}
    call = Call(kind=CallKind.CREATE, method="POST", path="/v", body=body)
    reply = Reply(status=200, body=b'{"code": "20002", "msg": "not: a cat"}')
    sample = Scrubber(prompts=True).sample(Taken(gateway="jimmy", call=call, reply=reply, at=NOW))
    assert sample["call"]["body"] == {"prompt": "a cat", "image_urls": ["https://a.example/b.png"]}
    assert sample["answer"] == {"code": "20002", "msg": "not: a cat"}


def test_the_same_prompt_has_the_same_stand_in():
    """So that who reads the samples knows which belong together; a quoted one is replaced likewise."""
    scrubber = Scrubber()
    for prompt, wanted in (("a cat", "prompt 1"), ("a dog", "prompt 2"), ("a cat", "prompt 1")):
        call = Call(kind=CallKind.CREATE, method="POST", path="/v", body=MappingProxyType({"prompt": prompt}))
        reply = Reply(status=200, body=json.dumps({"msg": f"no {prompt} here"}).encode())
        sample = scrubber.sample(Taken(gateway="jimmy", call=call, reply=reply, at=NOW))
        assert sample["call"]["body"]["prompt"] == wanted
        assert sample["answer"]["msg"] == f"no {wanted} here"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("refused: 'a red kite over t...'", "refused: 'prompt 1...'"),
        ("a red kite over the sea, and a red kite over", "prompt 1, and prompt 1"),
        ("a red kit", "prompt 1"),
        ("a red", "a red"),
        ("看 https://a.example/x?sig=1 Bearer abc", "看 … …"),
    ],
)
def test_a_prompt_that_is_quoted_in_part_is_replaced_too(said, kept):
    """Gateways cut what they quote; links and keys in their words are left out."""
    scrubber = Scrubber()
    call = Call(kind=CallKind.CREATE, method="POST", path="/v", body={"prompt": "a red kite over the sea"})
    reply = Reply(status=200, body=json.dumps({"msg": said}).encode())
    assert scrubber.sample(Taken(gateway="jimmy", call=call, reply=reply, at=NOW))["answer"]["msg"] == kept


async def test_recording_that_fails_costs_no_video(tmp_path, caplog):
    """A folder that cannot be written: the videos are made all the same, and it is said once."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    async with Emulator(task_seconds=0.2) as emulator, client(emulator, record=blocked / "in") as omni:
        task = await omni.generate(PROMPT)
    assert task.video_url
    assert len(emulator.ledger.charges) == 1
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 1
    assert "calls are not affected" in told[0]
    assert "CANARY" not in told[0]


async def test_a_recorder_that_cannot_begin_costs_no_call(tmp_path, monkeypatch):
    """No thread is to be had: the exchange is passed over."""

    def refuse(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    Recorder(tmp_path).take("jimmy", taken(b"{}").call, None)


async def test_looks_that_show_nothing_new_make_no_file(tmp_path):
    """And no more exchanges are kept than the most."""
    recorder = Recorder(tmp_path, now=lambda: NOW)
    for body in (b'{"status": "queued"}', b'{"status": "queued"}', b'{"status": "running"}', b'{"status": "queued"}'):
        recorder.take("jimmy", taken(body).call, taken(body).reply)
    await recorder.aclose()
    assert [sample["answer"]["status"] for sample in samples(tmp_path).values()] == ["queued", "running", "queued"]
    recorder._left = 1
    for _ in range(3):
        recorder.take("jimmy", attrs.evolve(taken(b"{}").call, kind=CallKind.BALANCE), taken(b"{}").reply)
    await recorder.aclose()
    assert len(samples(tmp_path)) == 4
    assert MOST > 1000


async def test_a_second_run_goes_on_numbering(tmp_path):
    """Nothing that was recorded is written over, by a later run or one at the same time."""
    first, second = Recorder(tmp_path, now=lambda: NOW), Recorder(tmp_path, now=lambda: NOW)
    for recorder in (first, second, first):
        recorder.take("jimmy", attrs.evolve(taken(b"{}").call, kind=CallKind.BALANCE), taken(b"{}").reply)
        await recorder.aclose()
    assert list(samples(tmp_path)) == [f"jimmy/{number:06d}-balance.json" for number in (1, 2, 3)]


def test_what_is_no_folder_is_refused_before_anything_is_sent():
    """As every setting of the wrong kind."""
    for wrong in (7, "", object()):
        with pytest.raises(InvalidRequestError, match="record: is not the path of a folder"):
            OmniClient(api_key=KEY, record=wrong)
    assert Recording("x").prompts is False


def test_who_does_not_record_does_not_load_it():
    """Nothing of it is in the way of a call: the transport is another class."""
    from omni_async.transport import Transport

    sys.modules.pop("omni_async.recording", None)
    assert type(OmniClient(api_key=KEY).studio.exchange.transport) is Transport
    assert "omni_async.recording" not in sys.modules


SPOKEN = 'CANARY says "hello heron"\nin Paris over rue Saint-Denis'


@pytest.mark.parametrize(
    "said",
    [
        json.dumps(SPOKEN),
        json.dumps("canary: 一只猫在霓虹雨中奔跑过街"),
        SPOKEN.lower(),
        SPOKEN[20:],
        " ".join(SPOKEN.split()),
        SPOKEN.replace('"', "“"),
        '"Saint-Denis" is not allowed',
        "bucket.example/u/CANARY.png?X-Amz-Signature=CANARY",
        "https%3A%2F%2Fbucket%2FCANARY.png%3FX-Amz-Signature%3DCANARY",
        "403 for /u/CANARY.png?X-Amz-Signature=CANARY",
        "Basic CANARYbase64",
        "api_key=CANARY",
        "data:image/png;base64,CANARY",
    ],
)
def test_a_gateways_words_hold_no_prompt_link_or_key_in_whatever_spelling_it_has_them(said):
    """Escaped, in other letters, from the middle, a link without its scheme: what may be a quotation is left out."""
    scrubber = Scrubber()
    for prompt in (SPOKEN, "canary: 一只猫在霓虹雨中奔跑过街"):
        scrubber.sample(Taken(gateway="jimmy", call=call_of(prompt), reply=None, at=NOW))
    answer = {"code": "20002", "msg": f"refused: {said}"}
    reply = Reply(status=400, body=json.dumps(answer).encode())
    sample = scrubber.sample(Taken(gateway="jimmy", call=call_of(SPOKEN), reply=reply, at=NOW))
    told = sample["answer"]["msg"].lower()
    assert not [part for part in ("canary", "heron", "paris", "denis", "4e00", "霓虹") if part in told]


def call_of(prompt):
    """A create."""
    return Call(kind=CallKind.CREATE, method="POST", path="/v1/videos", body={"prompt": prompt})


def test_a_hostile_text_is_scrubbed_at_once():
    """It is the gateway's, and may be long."""
    scrubber = Scrubber()
    scrubber.sample(Taken(gateway="jimmy", call=call_of(SPOKEN * 50), reply=None, at=NOW))
    for said in ("%3F" * 400, "?a" * 500, "a?" + "%" * 1000, "[?&]" * 300):
        reply = Reply(status=400, body=json.dumps({"msg": said}).encode())
        began = time.process_time()
        scrubber.sample(Taken(gateway="jimmy", call=call_of("a"), reply=reply, at=NOW))
        assert time.process_time() - began < 1
