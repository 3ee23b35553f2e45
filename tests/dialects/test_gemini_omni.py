"""The guide's shape and the flat shape: their requests, their rules, their calls."""

import json

import attrs
import pytest
from hypothesis import given, settings

from omni_async.dialects import GATEWAYS, GeminiOmni, ModelSpec, Reply, ToApis, dialect_named
from omni_async.errors import DecodeError
from omni_async.models import TaskStatus, VideoRequest

from .requests import requests

GUIDE, FLAT = GeminiOmni(), ToApis()
FLASH = "gemini_omni_flash"


def faults(dialect, **fields):
    """What a request is refused for, as {field: allowed values}."""
    found = dialect.check(VideoRequest(**{"prompt": "cat", **fields})).faults
    return {fault.field: fault.allowed for fault in found}


def warned(dialect, **fields):
    """The fields a request is warned about; it must not be refused."""
    checked = dialect.check(VideoRequest(**{"prompt": "cat", **fields}))
    assert checked.faults == ()
    return [warning.field for warning in checked.warnings]


def guide(**fields):
    """The guide's body for a request."""
    return GUIDE.create(VideoRequest(**{"prompt": "cat", **fields})).body


def flat(**fields):
    """The flat body for a request."""
    return FLAT.create(VideoRequest(**{"prompt": "cat", **fields})).body


# -- rules


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"prompt": " "}, {"prompt": ()}),
        ({"model": "Gemini-Omini"}, {"model": ("gemini_omni",)}),
        ({"duration": 4}, {"duration": (6, 10)}),
        ({"duration": 8}, {"duration": (6, 10)}),
        ({"resolution": "1080p"}, {"resolution": ("720P",)}),
        ({"aspect_ratio": "1:1"}, {"aspect_ratio": ("16:9", "9:16")}),
        ({"orientation": "up"}, {"orientation": ("landscape", "portrait")}),
        ({"generation_type": "frame"}, {"image_urls": (1,)}),
        ({"video_urls": ["a", "b"]}, {"video_urls": ()}),
        ({"mode": "video-edit"}, {"mode": ("text-to-video",)}),
        ({"mode": "text-to-video", "video_urls": ["v"]}, {"mode": ("video-edit", "reference-to-video")}),
        ({"extra": {"mode": "x"}}, {"extra.mode": ()}),
        ({"extra": {"input": {"duration": 7}}}, {"extra.input.duration": ()}),
        ({"extra": {"input": 5}}, {"extra.input": ()}),
    ],
)
def test_the_guide_refuses_what_its_table_excludes(fields, refused):
    """Each value outside the guide's table is refused with the allowed ones; extra opens no back door."""
    assert faults(GUIDE, **fields) == refused


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"model": "Gemini-Omini"}, {"model": ("gemini_omni", FLASH)}),
        ({"duration": 5}, {"duration": (6, 10)}),
        ({"duration": 4}, {"duration": (6, 10)}),
        ({"duration": 8, "model": FLASH}, {"duration": (4, 6, 10)}),
        ({"resolution": "1080p"}, {"resolution": ("720p",)}),
        ({"resolution": "4k", "model": FLASH}, {"resolution": ("720p", "1080p")}),
        ({"resolution": "1080p", "model": FLASH, "aspect_ratio": "9:16"}, {"resolution": ("16:9",)}),
        ({"resolution": "1080P", "model": FLASH, "orientation": "portrait"}, {"resolution": ("16:9",)}),
        ({"aspect_ratio": "4:3"}, {"aspect_ratio": ("16:9", "9:16")}),
        ({"image_urls": ["a", "b"]}, {"image_urls": (0, 1, 3)}),
        ({"image_urls": ["a"] * 4}, {"image_urls": (0, 1, 3)}),
        ({"image_urls": ["data:image/png;base64,AA"]}, {"image_urls[0]": ()}),
        ({"images": [" DATA:image/png;base64,AA"]}, {"images[0]": ()}),
        ({"image_urls": ["/9j/4AAQSkZJRgABAQ" * 400]}, {"image_urls[0]": ()}),
        ({"image_urls": [f"{'iVBORw0KGgo' * 6}\n" * 70]}, {"image_urls[0]": ()}),
        ({"extra": {"image_urls": ["x"]}}, {"extra.image_urls": ()}),
    ],
)
def test_the_flat_gateway_refuses_what_its_pages_exclude(fields, refused):
    """Each value outside the reference pages' table is refused with the allowed ones: never 2 images, never base64."""
    assert faults(FLAT, **fields) == refused


@pytest.mark.parametrize(
    ("dialect", "fields", "doubtful"),
    [
        (GUIDE, {"duration": 5}, ["duration"]),
        (GUIDE, {"duration": 6}, []),
        (GUIDE, {"resolution": "720p", "aspect_ratio": "9:16"}, []),
        (GUIDE, {"image_urls": ["a", "b"]}, []),
        (GUIDE, {"mode": "Remix", "image_urls": ["a"]}, ["mode"]),
        (GUIDE, {"aspect_ratio": "16:9", "orientation": "portrait"}, ["orientation"]),
        (FLAT, {"video_urls": ["v"]}, ["video_urls"]),
        (FLAT, {"image_urls": [f"https://a.example/{'A' * 500}"]}, []),
        (FLAT, {"image_urls": [f"/{'deep/' * 100}a.png"]}, []),
        (FLAT, {"model": FLASH, "resolution": "1080P"}, []),
        (FLAT, {"model": FLASH, "resolution": "1080p", "orientation": "landscape"}, []),
        (FLAT, {"extra": {"callback_url": "https://a"}}, []),
    ],
)
def test_what_the_documents_leave_in_doubt_is_warned_about(dialect, fields, doubtful):
    """The guide's own 5 s, videos on the flat gateway, unknown modes: warned about, not refused."""
    assert warned(dialect, **fields) == doubtful


@settings(max_examples=300, deadline=None)
@given(requests)
def test_any_request_can_be_checked_and_put_into_a_call(request):
    """Whatever a request holds, no dialect's check or create raises; what passes is sound JSON with UTF-8 text."""
    for dialect in map(dialect_named, GATEWAYS):
        call = dialect.create(request, idempotency_key="key-1")
        if not dialect.check(request).faults:
            json.dumps(call.body, ensure_ascii=False, allow_nan=False).encode()
            assert "custom_id" not in call.body
            assert "metadata" not in call.body


# -- bodies


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, "text-to-video"),
        ({"image_urls": ["a"], "generation_type": "frame"}, "image-to-video"),
        ({"image_urls": ["a"]}, "reference-to-video"),
        ({"image_urls": ["a"], "generation_type": "reference"}, "reference-to-video"),
        ({"images": ["a", "b", "c"]}, "reference-to-video"),
        ({"video_urls": ["v"]}, "video-edit"),
        ({"video_urls": ["v"], "image_urls": ["a"]}, "video-edit"),
        ({"image_urls": ["a"], "mode": "I2V"}, "image-to-video"),
        ({"image_urls": ["a"], "mode": "R2V"}, "reference-to-video"),
        ({"video_urls": ["v"], "mode": "r2v"}, "reference-to-video"),
        ({"mode": "T2V"}, "text-to-video"),
        ({"video_urls": ["v"], "mode": "Video_Edit"}, "video-edit"),
        ({"mode": "Remix"}, "Remix"),
    ],
)
def test_the_mode_follows_from_the_media_unless_it_is_said(fields, mode):
    """No media, a first frame, references, a video: each has its mode, and the caller can set it outright."""
    assert guide(**fields)["mode"] == mode


def test_the_inferred_spellings_can_be_overridden():
    """Three of the four spellings are inferred: a caller who knows better changes them as data."""
    dialect = GeminiOmni(mode_words={"reference-to-video": "R2V"})
    request = VideoRequest(prompt="cat", image_urls=["a"])
    assert dialect.create(request).body["mode"] == "R2V"
    assert hash(dialect) == hash(GUIDE)


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"orientation": "landscape"}, "16:9"),
        ({"orientation": "portrait"}, "9:16"),
        ({"orientation": "portrait", "aspect_ratio": "16:9"}, "16:9"),
        ({"orientation": "portrait", "aspect_ratio": ""}, "9:16"),
    ],
)
def test_an_orientation_is_sent_as_its_aspect_ratio(fields, sent):
    """Neither shape knows orientation: landscape is 16:9, portrait 9:16, and aspect_ratio wins."""
    assert guide(**fields)["input"] == {"prompt": "cat", "aspect_ratio": sent}
    assert flat(**fields) == {"prompt": "cat", "model": "gemini_omni", "aspect_ratio": sent}


def test_resolutions_are_spelled_as_each_shape_does():
    """The guide writes 720P, the reference pages 720p; the caller's case does not matter."""
    assert guide(resolution="720p")["input"]["resolution"] == "720P"
    assert flat(resolution="720P")["resolution"] == "720p"


def test_extra_goes_beside_the_fields_and_overrides_none():
    """Unknown fields are sent, inside `input` too; known ones win over extra."""
    sent = guide(duration=6, extra={"seed": 7, "input": {"style": "noir", "duration": 99, "prompt": "dog"}})
    assert sent["seed"] == 7
    assert sent["input"] == {"prompt": "cat", "duration": 6, "style": "noir"}
    assert flat(extra={"seed": 7, "prompt": "dog"}) == {"prompt": "cat", "model": "gemini_omni", "seed": 7}


def test_the_callers_own_data_is_never_sent():
    """custom_id and metadata reach neither shape; the guide takes no idempotency key."""
    request = VideoRequest(prompt="cat", custom_id="CANARY", metadata={"a": "CANARY"})
    for dialect in (GUIDE, FLAT):
        assert "CANARY" not in json.dumps(dialect.create(request).body)
    assert "CANARY" not in json.dumps(GUIDE.create(request, idempotency_key="CANARY").body)


def test_the_flat_shape_carries_the_idempotency_key():
    """`client_business_id` is the library's key, or the one the caller put into extra."""
    request = VideoRequest(prompt="cat")
    assert FLAT.abilities.idempotency_field == "client_business_id"
    assert GUIDE.abilities.idempotency_field is None
    assert FLAT.create(request, idempotency_key="key-1").body["client_business_id"] == "key-1"
    own = attrs.evolve(request, extra={"client_business_id": "mine"})
    assert FLAT.create(own, idempotency_key="key-1").body["client_business_id"] == "mine"
    empty = attrs.evolve(request, extra={"client_business_id": None})
    assert FLAT.create(empty, idempotency_key="key-1").body["client_business_id"] == "key-1"


def test_models_are_data_a_caller_can_override():
    """Both dialects take a caller's own table; a model unknown to it is sent as said."""
    spec = ModelSpec(name="gemini_omni_2", durations=(20,), resolutions=("4K",))
    for kind in (GeminiOmni, ToApis):
        dialect = kind(models=(spec,))
        assert faults(dialect, duration=20, resolution="4k") == {}
        assert dialect.create(VideoRequest(prompt="cat")).body["model"] == "gemini_omni_2"
        assert dialect.create(VideoRequest(prompt="cat", model="other")).body["model"] == "other"


# -- calls and answers


@pytest.mark.parametrize("dialect", [GUIDE, FLAT], ids=["guide", "flat"])
def test_the_routes_are_the_reference_pages(dialect):
    """Create and query share a route, uploads and balance have theirs; ids go percent-encoded."""
    assert dialect.create(VideoRequest(prompt="cat")).path == "/v1/videos/generations"
    assert dialect.query("a/b?c").path == "/v1/videos/generations/a%2Fb%3Fc"
    assert dialect.query("key:1").method == "GET"
    upload = dialect.upload()
    assert (upload.method, upload.path, upload.part) == ("POST", "/v1/uploads/images", "file")
    assert dialect.balance("key").path == "/v1/balance"
    assert dialect.uploads.max_bytes == 10 * 1024 * 1024
    assert dialect.uploads.endings == {"jpg", "jpeg", "png", "webp", "gif"}
    assert dialect.auth("k") == {"Authorization": "Bearer k"}
    assert (dialect.key_variable, dialect.base_url) == ("TOAPIS_API_KEY", "https://toapis.com")
    assert (dialect.abilities.first_look, dialect.abilities.max_interval) == (5.0, 10.0)
    assert dialect.abilities.url_lifetime == 86400.0


def reply(document, status=200):
    """An answer."""
    return Reply(status=status, body=json.dumps(document).encode(), url="https://toapis.com/v1/x")


@pytest.mark.parametrize("document", [[], "text", 5, {"data": {"status": 5}}, {"status": None}, {"id": "x"}])
def test_a_query_answer_without_a_status_is_a_decode_error(document):
    """A query's answer must have a status word; otherwise nothing is concluded from it."""
    with pytest.raises(DecodeError):
        FLAT.read_query(reply(document))


@pytest.mark.parametrize(
    "document", [[], {}, {"status": "queued"}, {"id": 5, "status": "queued"}, {"id": "x", "status": 5}]
)
def test_a_create_answer_without_a_sound_id_is_a_decode_error(document):
    """A create's answer must have an id that is a text, and a status that is one if it is there."""
    with pytest.raises(DecodeError):
        FLAT.read_create(reply(document))


def test_a_failed_tasks_error_is_the_tasks_and_no_refusal_of_the_query():
    """A failed task comes with HTTP 200 and an error object: reading it as the task comes first."""
    task = FLAT.read_query(reply({"id": "t", "status": "failed", "error": {"code": "rate_limit_exceeded"}}))
    assert (task.status, task.error_code) == (TaskStatus.FAILED, "rate_limit_exceeded")


def test_an_http_status_in_place_of_the_status_word_does_not_hide_the_task():
    """A status number at the top is the envelope's, the task's own stands in `data`."""
    task = FLAT.read_query(reply({"status": 200, "data": {"task_id": "t", "status": "in_progress"}}))
    assert (task.task_id, task.status) == ("t", TaskStatus.RUNNING)


@pytest.mark.parametrize("answer", [{"url": "https://[broken"}, {}, {"url": 5}, {"result": {"data": []}}])
@pytest.mark.parametrize("dialect", GATEWAYS)
def test_a_finished_task_without_a_usable_link_is_a_terminal_decode_error(dialect, answer):
    """A task that is finished and has no link, or a malformed one, is told apart from an answer out of shape."""
    with pytest.raises(DecodeError) as caught:
        dialect_named(dialect).read_query(reply({"task_id": "t", "status": "completed", **answer}))
    assert caught.value.terminal
    with pytest.raises(DecodeError) as caught:
        dialect_named(dialect).read_query(reply({"task_id": "t"}))
    assert not caught.value.terminal


@pytest.mark.parametrize("dialect", GATEWAYS)
def test_a_malformed_link_does_not_spoil_a_running_task(dialect):
    """A link of an unfinished task is not needed yet."""
    answer = reply({"task_id": "t", "status": "processing", "url": "https://[broken"})
    assert dialect_named(dialect).read_query(answer).video_url is None


def test_a_refused_upload_says_why():
    """`success: false` comes with HTTP 200: the error repeats the gateway's reason, without signed queries."""
    with pytest.raises(DecodeError, match=r"did not take the file: too large: https://a.example/1.png\?…$"):
        FLAT.read_upload(reply({"success": False, "message": "too large: https://a.example/1.png?sig=1"}))
    with pytest.raises(DecodeError, match="no reason given"):
        FLAT.read_upload(reply({"success": False}))


def test_a_refused_balance_says_why():
    """As a refused upload does; an answer of another shape is told by its shape."""
    with pytest.raises(DecodeError, match=r"tells no balance: token expired$"):
        FLAT.read_balance(reply({"success": False, "message": "token expired", "remain_balance": 5}))
    with pytest.raises(DecodeError, match="no balance in the answer"):
        FLAT.read_balance(reply({"success": True}))
