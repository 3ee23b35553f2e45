"""Requests, tasks, balances and outcomes: built, shown, handed over."""

import contextlib
import copy
import inspect
import json
import pickle
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import attrs
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from omni_async.dialects.rules import check_fields
from omni_async.errors import DecodeError, InvalidRequestError, OmniError
from omni_async.fields import RequestFields, check_prompt
from omni_async.models import (
    FIELDS,
    Balance,
    Outcome,
    Stats,
    TaskStatus,
    VideoRequest,
    VideoTask,
    without_query,
)
from tests.dialects.requests import ODD, requests

SIGNED = "https://cdn.example/v/1.mp4?X-Signature=CANARY"
FULL = VideoTask(
    task_id="task_1",
    status=TaskStatus.SUCCEEDED,
    raw_status="completed",
    progress=100,
    model="Gemini-Omini",
    mode="text-to-video",
    created_at=datetime(2026, 4, 15, tzinfo=UTC),
    completed_at=datetime(2026, 4, 15, 0, 4, tzinfo=UTC),
    expires_at=datetime(2026, 4, 18, tzinfo=UTC),
    video_url=SIGNED,
    error_message="CANARY of a prompt",
    error_code="none",
    custom_id="第一场",
    metadata={"row": 1},
    gateway="jimmy",
    request_id="req-1",
    raw={"prompt": "CANARY"},
)
HANDLE = ("gateway", "task_id", "model", "mode", "created_at", "completed_at", "expires_at", "custom_id", "metadata")


# -- requests


def test_a_request_comes_from_a_text_a_mapping_or_a_request():
    """A text is the prompt, a mapping is the fields, and keywords add to either."""
    wanted = VideoRequest(prompt="cat", duration=6)
    assert VideoRequest.of("cat", {"duration": 6}) == wanted
    assert VideoRequest.of({"prompt": "cat", "duration": 6}, {}) == wanted
    assert VideoRequest.of({"prompt": "cat"}, {"duration": 6}) == wanted
    assert VideoRequest.of(wanted, {}) == wanted


def test_a_request_of_the_callers_own_class_comes_from_one_of_ours():
    """And keeps its class when it comes as it is."""

    class Scene(VideoRequest):
        pass

    scene = Scene.of(VideoRequest(prompt="cat", duration=6), {})
    assert (type(scene), scene.prompt, scene.duration) == (Scene, "cat", 6)
    assert VideoRequest.of(scene, {}) is scene


def test_keywords_replace_what_a_request_says():
    """A request and keywords give a new request with those fields replaced; the old one stays as it is."""
    request = VideoRequest(prompt="cat", duration=6, metadata={"row": 1})
    other = VideoRequest.of(request, {"duration": 8})
    assert (other.prompt, other.duration, other.metadata, request.duration) == ("cat", 8, {"row": 1}, 6)


def test_unknown_and_doubled_fields_are_all_named_at_once():
    """A field that does not exist is named with the nearest that does, one given twice is named too."""
    with pytest.raises(InvalidRequestError) as caught:
        VideoRequest.of({"prompt": "cat", "promt": "dog", "wibble": 1}, {"prompt": "cat"})
    assert [str(fault) for fault in caught.value.faults] == [
        "promt: no such field; did you mean 'prompt'?",
        "wibble: no such field; put what only a newer gateway knows into extra={…}",
        "prompt: given twice",
    ]
    assert str(caught.value).startswith("nothing was sent, the request has 3 faults:\n  - promt: ")
    assert caught.value.may_have_charged is False


MEANT = {
    "aspect_ratio": "size ratio",
    "duration": "seconds length durationSeconds durations",
    "image_urls": "image image_url promptImage prompt_image input_reference first_frame reference-images",
    "video_urls": "video video_url",
    "custom_id": "id idempotency_key",
    "prompt": "text promptText prompts",
    "client.watch": "on_queue_update on_progress onChange",
    "PollPolicy": "poll_interval pollInterval",
    "extra={'callback_url': …}": "webhook_url webhook callback callback_url",
    "generate(output=…)": "output_path filename",
    "no gateway takes a last frame": "end_image_url last_frame end_frame endImage",
    "generate_many": "n number_of_videos",
    "put what only a newer gateway knows into extra": "generate_audio negative_prompt seed 首帧",
}


@pytest.mark.parametrize(("name", "told"), [(name, told) for told, names in MEANT.items() for name in names.split()])
def test_other_sdks_words_are_known(name, told):
    """What is meant is named, or what serves instead; never a field of another meaning. In Chinese as well."""
    with pytest.raises(InvalidRequestError) as caught:
        VideoRequest.of("cat", {name: 1})
    (fault,) = caught.value.faults
    assert told in fault.problem
    meant = re.findall(r"did you mean '(\w+)'", fault.problem)
    assert meant in ([], [told])
    assert "没有这个字段；" in caught.value.explain("zh")
    assert "no such" not in caught.value.explain("zh")


def test_the_one_image_that_is_the_first_frame_is_told():
    """Wherever it is called by that."""
    with pytest.raises(InvalidRequestError, match=r"'image_urls'\? With generation_type='frame' the one image is"):
        VideoRequest.of("cat", {"first_frame": "a.png"})


def test_a_request_without_prompt_can_be_built_and_is_refused_by_the_check():
    """A mapping without prompt becomes a request whose prompt is None: the dialect reports it with all else."""
    assert VideoRequest.of({"duration": 6}, {}).prompt is None


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (None, ()),
        ("https://a/1", ("https://a/1",)),
        (Path("a.png"), ("a.png",)),
        (["https://a/1", Path("b.png")], ("https://a/1", "b.png")),
        ((), ()),
        (5, (5,)),
        (b"ab", (b"ab",)),
    ],
)
def test_references_become_a_tuple_of_texts(given_, kept):
    """One reference, a path, a list or None become a tuple; what is not a list of texts is left to the check."""
    assert VideoRequest(prompt="cat", image_urls=given_).image_urls == kept
    assert VideoRequest(prompt="cat", video_urls=given_).video_urls == kept


def test_images_count_when_image_urls_are_empty():
    """`images` is the older name of `image_urls`, used when that is empty (seed)."""
    assert VideoRequest(prompt="cat", images=["b"]).reference_images == ("b",)
    assert VideoRequest(prompt="cat", images=["b"], image_urls=["a"]).reference_images == ("a",)


def test_an_empty_aspect_ratio_counts_as_not_given():
    """The seed uses orientation when aspect_ratio is empty."""
    assert VideoRequest(prompt="cat", aspect_ratio="").aspect_ratio is None


def test_a_requests_repr_hides_prompt_urls_and_extra():
    """What a repr shows of prompt, references and extra fields is their length; metadata is not shown."""
    request = VideoRequest(
        prompt="CANARY",
        image_urls=["https://a/?CANARY"],
        images="CANARY",
        video_urls="CANARY",
        extra={"CANARY": "CANARY"},
        metadata={"CANARY": 1},
        duration=6,
    )
    assert "CANARY" not in repr(request)
    assert "prompt=<6>, model=None, duration=6" in repr(request)
    assert "image_urls=<1>" in repr(request)
    assert "extra=<int>" in repr(VideoRequest(prompt="cat", extra=5))
    assert "prompt=<NoneType>" in repr(VideoRequest(prompt=None))


def test_a_request_is_frozen_and_hashable():
    """A request cannot be changed, and equal requests have one hash."""
    request = VideoRequest(prompt="cat", extra={"a": 1})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        request.prompt = "dog"
    assert hash(request) == hash(VideoRequest(prompt="cat", extra={"a": 1}))
    assert FIELDS[0] == "prompt"
    assert tuple(RequestFields.__annotations__) == FIELDS[1:]


# -- requests as plain data


def test_a_request_from_plain_data():
    """Decoded JSON becomes the request that its keywords make; null is not given, one reference may stand alone."""
    fields = {"prompt": "cat", "duration": 6, "model": None, "image_urls": "a.png", "video_urls": [], "extra": None}
    request = VideoRequest.from_dict(fields, local_files=True)
    assert request == VideoRequest(prompt="cat", duration=6, image_urls=["a.png"])


@pytest.mark.parametrize("path", ["/etc/passwd", "nope.png", "../keys/id.png", "C:\\keys\\id.png", " https://a/b.png"])
def test_plain_data_names_no_files_of_this_machine(path):
    """Who fills in a form cannot have the server's files uploaded, nor learn from the refusal which exist."""
    fields = {"prompt": "cat", "images": path, "video_urls": ["https://a/v.mp4", path]}
    with pytest.raises(InvalidRequestError) as caught:
        VideoRequest.from_dict(fields)
    told = "is a local path; from_dict(…, local_files=True) takes them, for data of your own"
    assert [str(fault) for fault in caught.value.faults] == [f"images[0]: {told}", f"video_urls[1]: {told}"]
    assert "自己的数据请用 from_dict(…, local_files=True)" in caught.value.explain("zh")
    own = VideoRequest.from_dict(fields, local_files=True)
    assert (own.images, own.video_urls) == ((path,), ("https://a/v.mp4", path))


def test_plain_data_is_refused_with_every_fault_at_once():
    """Misspelt names with what was meant, foreign ones with the place for them, and each value of a wrong type."""
    fields = {
        "promt": "cat", "id": "row-1", "seed": 7, "duration": "6", "resolution": 720, "image_urls": {"a": 1},
        "video_urls": ["https://a/v.mp4", None], "extra": {"mode": "x"}, "metadata": [1],
    }  # fmt: skip
    with pytest.raises(InvalidRequestError) as caught:
        VideoRequest.from_dict(fields)
    assert [str(fault) for fault in caught.value.faults] == [
        "promt: no such field; did you mean 'prompt'?",
        "id: no such field; did you mean 'custom_id'?",
        "seed: no such field; put what only a newer gateway knows into extra={…}",
        "image_urls: is not a list of URLs or paths",
        "prompt: required text",
        "resolution: 720 is not text",
        "duration: '6' is not a whole number of seconds",
        "video_urls[1]: None is not a URL or path; client.upload(bytes, name=…) gives one",
        "extra.mode: is a field of its own; set it there",
        "metadata: is not a mapping",
    ]
    assert caught.value.may_have_charged is False


@pytest.mark.parametrize("fields", [None, "cat", ["prompt"], 5])
def test_plain_data_must_be_a_mapping(fields):
    """Anything else is refused by its type; its content is not shown."""
    with pytest.raises(InvalidRequestError, match=f"request: a {type(fields).__name__} is not a mapping"):
        VideoRequest.from_dict(fields)


BLANKS = "\u200b\ufeff\u200d\0\u2800\u3164\u00ad\u2028\u00a0\t "


@pytest.mark.parametrize("prompt", ["", *BLANKS, BLANKS, " \u200b\n"], ids=ascii)
def test_a_prompt_that_shows_nothing_is_none(prompt):
    """Marks and spaces that nobody sees are paid for by nobody; between letters they are left alone."""
    assert [str(fault) for fault in check_prompt(prompt)] == ["prompt: required text"]
    with pytest.raises(InvalidRequestError, match="prompt: required text"):
        VideoRequest.from_dict({"prompt": prompt})
    assert list(check_prompt(f"{prompt}👩\u200d🚀{prompt}")) == []


def test_what_is_set_as_plain_data():
    """Only what was given, references as lists."""
    request = VideoRequest(prompt="cat", image_urls=("a", "b"), metadata={"row": 1}, custom_id="r")
    told = {"prompt": "cat", "image_urls": ["a", "b"], "custom_id": "r", "metadata": {"row": 1}}
    assert request.to_dict() == told
    assert VideoRequest.from_dict(json.loads(json.dumps(told)), local_files=True) == request


@settings(deadline=None)
@given(requests)
def test_a_sound_request_comes_back_as_it_was(request_):
    """Out as plain data and in again, also through `attrs.asdict`: the same, and nothing sound is refused."""
    assume(not list(check_fields(request_, known=())))
    assert VideoRequest.from_dict(request_.to_dict(), local_files=True) == request_
    assert VideoRequest.from_dict(attrs.asdict(request_), local_files=True) == request_


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*FIELDS, "promt", "id"]) | st.text(max_size=5) | st.integers(), ODD))
def test_plain_data_of_any_kind_is_a_sound_request_or_refused(fields):
    """Nothing gets through that a dialect would find of a wrong type, and nothing else is raised."""
    with contextlib.suppress(InvalidRequestError):
        assert list(check_fields(VideoRequest.from_dict(fields, local_files=True), known=())) == []


# -- tasks


def test_finished_is_said_of_the_three_ends():
    """SUCCEEDED, FAILED and CANCELED are final, QUEUED and RUNNING are not."""
    assert {status.value for status in TaskStatus if status.finished} == {"succeeded", "failed", "canceled"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (None, "None"),
        (SIGNED, "https://cdn.example/v/1.mp4?…"),
        ("https://cdn.example/1.mp4", "https://cdn.example/1.mp4"),
        ("https://user:pw@cdn.example/1.mp4#CANARY", "https://cdn.example/1.mp4"),
        ("/files/1.mp4?sig=CANARY", "/files/1.mp4?…"),
        ("https://[::1/x?CANARY", "<malformed URL>"),
    ],
)
def test_a_url_is_shown_without_its_query(url, shown):
    """A shown URL has no query, no user and no fragment: each can be signed."""
    assert without_query(url) == shown


def test_a_tasks_repr_shows_its_state_and_no_secret():
    """A task's repr tells id, status and progress, and neither signed query, error text, answer nor metadata."""
    shown = repr(FULL)
    assert "task_id='task_1'" in shown
    assert "progress=100" in shown
    assert "video_url=https://cdn.example/v/1.mp4?…" in shown
    assert "CANARY" not in shown
    assert "row" not in shown


def test_a_handle_holds_what_waiting_needs_and_no_url():
    """A handle is versioned plain JSON with ids, times, custom_id and metadata, without answer, status or URL."""
    handle = json.loads(FULL.to_json())
    assert handle == {
        "omni_async": 1,
        "gateway": "jimmy",
        "task_id": "task_1",
        "model": "Gemini-Omini",
        "mode": "text-to-video",
        "created_at": "2026-04-15T00:00:00+00:00",
        "completed_at": "2026-04-15T00:04:00+00:00",
        "expires_at": "2026-04-18T00:00:00+00:00",
        "custom_id": "第一场",
        "metadata": {"row": 1},
    }
    assert "CANARY" not in FULL.to_json()


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
whens = st.none() | st.datetimes(
    min_value=datetime(1971, 1, 1),
    timezones=st.integers(-720, 720).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
tasks = st.builds(
    VideoTask,
    task_id=texts.filter(str.strip),
    status=st.sampled_from(TaskStatus),
    model=st.none() | texts,
    mode=st.none() | texts,
    created_at=whens,
    completed_at=whens,
    expires_at=whens,
    custom_id=st.none() | texts,
    metadata=st.dictionaries(texts, plain, max_size=3),
    gateway=texts,
    video_url=st.none() | texts,
    raw=plain,
)


@settings(max_examples=150, deadline=None)
@given(tasks)
def test_a_handle_comes_back_as_the_same_task(task):
    """Whatever a handle holds comes back from it, and nothing else."""
    again = VideoTask.from_json(task.to_json())
    for field in HANDLE:
        assert getattr(again, field) == getattr(task, field), field
    assert (again.status, again.video_url, again.raw) == (TaskStatus.QUEUED, None, None)
    assert VideoTask.from_json(task.to_json().encode()) == again


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60) | plain.map(json.dumps))
def test_no_handle_raises_only_decode_errors(damaged):
    """What is not a handle is a DecodeError, whatever it is."""
    with pytest.raises(DecodeError):
        VideoTask.from_json(damaged)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["omni_async", *HANDLE]), plain)
def test_a_damaged_field_is_survived_or_a_decode_error(field, value):
    """A handle with any one field replaced by anything is a task or a DecodeError."""
    handle = {**json.loads(FULL.to_json()), field: value}
    try:
        task = VideoTask.from_json(json.dumps(handle))
    except DecodeError:
        return
    assert isinstance(task, VideoTask)
    repr(task)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"omni_async": 2}, "this handle has version 2, this library reads 1: upgrade it"),
        ({"omni_async": 2, "task_id": None}, "this handle has version 2, this library reads 1: upgrade it"),
        ({"omni_async": True}, "this is not a task handle: VideoTask.to_json() makes one"),
        ({"task_id": " "}, "the handle's task_id is missing"),
        ({"task_id": 7}, "the handle's task_id is missing"),
        ({"model": 7}, "the handle's model is not text"),
        ({"created_at": "yesterday"}, "the handle's times or metadata are damaged"),
        ({"created_at": "2026-04-15T00:00:00"}, "the handle's times or metadata are damaged"),
        ({"metadata": [1]}, "the handle's times or metadata are damaged"),
    ],
)
def test_what_is_wrong_with_a_handle_is_said(changed, message):
    """Each kind of damage has its message; a newer version asks for an upgrade before anything else."""
    with pytest.raises(DecodeError) as caught:
        VideoTask.from_json(json.dumps({**json.loads(FULL.to_json()), **changed}))
    assert str(caught.value) == message


@pytest.mark.parametrize("damaged", [None, 5, "[" * 100_000, "1" * 5000, b"\xff", "null"])
def test_what_json_cannot_read_is_a_decode_error(damaged):
    """Other types, deep nesting, endless numbers and broken UTF-8 are DecodeErrors."""
    with pytest.raises(DecodeError, match="this is not a task handle"):
        VideoTask.from_json(damaged)


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_metadata_that_json_cannot_hold_is_refused_with_the_task_id(value):
    """A handle of metadata that JSON has no form for is an error that names the task and does not say uncharged."""
    with pytest.raises(InvalidRequestError) as caught:
        VideoTask(task_id="task_1", metadata={"a": value}).to_json()
    assert caught.value.faults[0].field == "metadata"
    assert caught.value.task_id == "task_1"
    assert caught.value.may_have_charged is True
    assert "nothing was sent" not in str(caught.value)
    assert "keep its id" in str(caught.value)


def test_a_pickle_holds_neither_url_nor_answer():
    """A task's pickle holds what its handle holds and the status, and no URL, answer or error text."""
    data = pickle.dumps(FULL)
    assert b"CANARY" not in data
    again = pickle.loads(data)  # noqa: S301 our own
    assert again == attrs.evolve(FULL, video_url=None, error_message=None)
    assert again.raw is None


def test_copies_of_a_task_are_the_task():
    """A task is frozen, so that a copy is itself, URL and answer included."""
    assert copy.copy(FULL) is FULL
    assert copy.deepcopy(FULL) is FULL


def test_tasks_are_equal_whatever_the_answer_looked_like():
    """`raw` does not take part in comparing: two looks that say the same are the same."""
    assert attrs.evolve(FULL, raw=1) == FULL
    assert hash(attrs.evolve(FULL, raw=1)) == hash(FULL)


# -- balances and outcomes


def test_a_balances_repr_leaves_the_answer_out():
    """A balance shows amounts, not the answer."""
    assert "CANARY" not in repr(Balance(available=1.0, raw={"key": "CANARY"}))


def test_an_outcome_is_ok_only_with_a_video():
    """An outcome is ok if its task succeeded and nothing went wrong since."""
    done = VideoTask(task_id="t", status=TaskStatus.SUCCEEDED)
    assert Outcome(request=None, task=done).ok
    assert not Outcome(request=None, task=attrs.evolve(done, status=TaskStatus.FAILED)).ok
    assert not Outcome(request=None, task=done, error=OmniError("disk")).ok
    assert not Outcome(request=None).ok


def test_an_outcomes_result_is_its_task_or_raises():
    """As a Future's: also for a file that could not be stored, and never None."""
    done, full = VideoTask(task_id="t", status=TaskStatus.SUCCEEDED), OmniError("disk")
    assert Outcome(request=None, task=done).result() is done
    with pytest.raises(OmniError) as caught:
        Outcome(request=None, task=done, error=full).result()
    assert caught.value is full
    with pytest.raises(OmniError, match="nothing is known"):
        Outcome(request=None).result()


@pytest.mark.parametrize("kind", [VideoRequest, VideoTask, Balance, Outcome, Stats], ids=lambda kind: kind.__name__)
def test_each_field_is_explained(kind):
    """What a user is handed says of each of its fields what it is."""
    told = re.findall(r"^    (\w+): \S", inspect.getdoc(kind), re.MULTILINE)
    assert told == [field.name for field in attrs.fields(kind)]
