"""Jimmy's dialect: every request that the check passes is one that the seed's OpenAPI document allows."""

import copy
import json

import attrs
import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_async import DecodeError
from omni_async.dialects import Jimmy, ModelSpec, Reply
from omni_async.dialects.jimmy import MODELS
from omni_async.models import VideoRequest

from .requests import requests
from .samples import ROOT

JIMMY = Jimmy()
SEED = yaml.safe_load((ROOT / "jimmy" / "openapi.yaml").read_text(encoding="utf-8"))
SCHEMA = SEED["components"]["schemas"]["GeminiOmniGenerationRequest"]


def closed(schema):
    """The seed's schema as its prose means it: nothing else, and the four durations."""
    patched = copy.deepcopy(schema)
    patched["additionalProperties"] = False
    patched["properties"]["duration"]["enum"] = [4, 6, 8, 10]
    return patched


VALIDATORS = [jsonschema.Draft202012Validator(schema) for schema in (SCHEMA, closed(SCHEMA))]


def body(**fields):
    """What is sent for a request."""
    return JIMMY.create(VideoRequest(**fields)).body


def faults(dialect=JIMMY, **fields):
    """What a request is refused for, as {field: allowed values}."""
    found = dialect.check(VideoRequest(**{"prompt": "cat", **fields})).faults
    return {fault.field: fault.allowed for fault in found}


def warned(**fields):
    """The fields a request is warned about; it must not be refused."""
    checked = JIMMY.check(VideoRequest(**{"prompt": "cat", **fields}))
    assert checked.faults == ()
    return [warning.field for warning in checked.warnings]


# -- against the seed's own document


@settings(max_examples=400, deadline=None)
@given(requests)
def test_what_the_check_passes_the_seeds_document_allows(request):
    """Every request that the check passes (but for extra) validates against the seed's OpenAPI, as it is and closed."""
    checked = JIMMY.check(request)
    call = JIMMY.create(request)
    if checked.faults:
        return
    sent = {name: value for name, value in call.body.items() if name not in request.extra}
    for validator in VALIDATORS:
        validator.validate(json.loads(json.dumps(sent)))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([None, "Gemini-Omini", "Omni-Flash-Ext", "gemini-omni"]), st.sampled_from([None, 4, 6, 8, 10]))
def test_what_the_document_allows_the_check_passes(model, duration):
    """The check refuses no plain request that the document allows."""
    for resolution in (None, "720p", "1080p", "4k"):
        request = VideoRequest(prompt="cat", model=model, duration=duration, resolution=resolution)
        assert JIMMY.check(request).faults == ()


def test_the_documents_own_example_is_sent_as_it_stands():
    """The seed's example passes, `reference` with empty lists and a duration, and is sent without the empty lists."""
    example = SCHEMA["example"]
    request = VideoRequest.of(example, {})
    assert JIMMY.check(request) == JIMMY.check(VideoRequest(prompt="cat"))
    sent = JIMMY.create(request).body
    assert {**sent, "image_urls": [], "video_urls": []} == example


def test_the_route_is_the_documents():
    """The create call goes where the document says."""
    call = JIMMY.create(VideoRequest(prompt="cat"))
    assert [call.path] == list(SEED["paths"])
    assert JIMMY.base_url == SEED["servers"][0]["url"]


def test_the_schemas_fields_are_the_bodys_fields():
    """Every field of the document can be sent."""
    every = VideoRequest(
        prompt="cat",
        model="gemini-omni",
        duration=10,
        resolution="720p",
        aspect_ratio="16:9",
        orientation="landscape",
        images=["a"],
        generation_type="reference",
        video_urls=["b"],
    )
    sent = {*JIMMY.create(every).body, *JIMMY.create(attrs.evolve(every, image_urls=["c"])).body}
    assert sent == set(SCHEMA["properties"])


# -- the rules of the seed


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"prompt": None}, {"prompt": ()}),
        ({"prompt": ""}, {"prompt": ()}),
        ({"prompt": "\n"}, {"prompt": ()}),
        ({"prompt": "\ud83d"}, {"prompt": ()}),
        ({"model": "veo-3"}, {"model": ("Gemini-Omini", "Omni-Flash-Ext", "gemini-omni", "omni-10s")}),
        ({"model": "gemini_omni"}, {"model": ("Gemini-Omini", "Omni-Flash-Ext", "gemini-omni", "omni-10s")}),
        ({"duration": 5}, {"duration": (4, 6, 8, 10)}),
        ({"duration": 0}, {"duration": (4, 6, 8, 10)}),
        ({"duration": 6.0}, {"duration": ()}),
        ({"duration": "6"}, {"duration": ()}),
        ({"duration": True}, {"duration": ()}),
        ({"duration": 6, "video_urls": ["v"]}, {"duration": ()}),
        ({"duration": 10, "video_urls": ["v"], "model": "omni-10s"}, {"duration": ()}),
        ({"resolution": "480p"}, {"resolution": ("720p", "1080p", "4k")}),
        ({"resolution": 720}, {"resolution": ()}),
        ({"aspect_ratio": "wide"}, {"aspect_ratio": ("16:9", "9:16")}),
        ({"aspect_ratio": "16:0"}, {"aspect_ratio": ("16:9", "9:16")}),
        ({"orientation": "square"}, {"orientation": ("landscape", "portrait")}),
        ({"generation_type": "frames"}, {"generation_type": ("frame", "reference")}),
        ({"generation_type": "frame"}, {"image_urls": (1,)}),
        ({"generation_type": "frame", "image_urls": ["a", "b"]}, {"image_urls": (1,)}),
        ({"generation_type": "frame", "images": ["a", "b", "c"]}, {"image_urls": (1,)}),
        ({"generation_type": "reference", "image_urls": ["a", "b"]}, {"image_urls": (0, 1, 3)}),
        ({"image_urls": ["a"] * 4}, {"image_urls": (0, 1, 3)}),
        ({"images": ["a"] * 2}, {"image_urls": (0, 1, 3)}),
        ({"video_urls": ["a", "b"]}, {"video_urls": ()}),
        ({"model": "omni-10s", "image_urls": ["a"] * 8}, {"image_urls": ()}),
        ({"model": "omni-10s", "image_urls": ["a"] * 7, "video_urls": ["v"]}, {"image_urls": ()}),
        ({"image_urls": [""]}, {"image_urls[0]": ()}),
        ({"image_urls": 5}, {"image_urls[0]": ()}),
        ({"video_urls": [None]}, {"video_urls[0]": ()}),
        ({"images": ["\udc80"]}, {"images[0]": ()}),
        ({"custom_id": 5}, {"custom_id": ()}),
        ({"custom_id": ""}, {"custom_id": ()}),
        ({"model": "a\ud800"}, {"model": ("Gemini-Omini", "Omni-Flash-Ext", "gemini-omni", "omni-10s")}),
        ({"metadata": [1]}, {"metadata": ()}),
        ({"mode": "text-to-video", "image_urls": ["a"]}, {"mode": ("reference-to-video", "image-to-video")}),
        ({"mode": "R2V"}, {"mode": ("text-to-video",)}),
        ({"extra": {"duration": 5}}, {"extra.duration": ()}),
        ({"extra": {"custom_id": "x"}}, {"extra.custom_id": ()}),
        ({"extra": {"seed": float("nan")}}, {"extra": ()}),
        ({"extra": {"seed": object()}}, {"extra": ()}),
        ({"extra": {"seed": "\ud800"}}, {"extra": ()}),
        ({"extra": 5}, {"extra": ()}),
    ],
)
def test_each_refused_combination_is_refused_with_the_allowed_values(fields, refused):
    """Each combination that the seed excludes is refused before any I/O, and the fault names the allowed values."""
    found = faults(**fields)
    assert {name: found[name] for name in refused if name in found} == refused
    assert set(found) == set(refused)


def test_all_faults_are_reported_at_once():
    """A request that is wrong in many ways is told all of them."""
    assert set(
        faults(prompt="", duration=5, resolution="8k", orientation="up", generation_type="x", video_urls=["a", "b"])
    ) == {
        "prompt",
        "duration",
        "resolution",
        "orientation",
        "generation_type",
        "video_urls",
    }


@pytest.mark.parametrize(
    ("fields", "doubtful"),
    [
        ({}, []),
        ({"model": "omni-10s"}, []),
        ({"model": "omni-10s", "duration": 10}, ["duration"]),
        ({"model": "omni-10s", "duration": 4, "resolution": "4k"}, ["duration", "resolution"]),
        ({"model": "omni-10s", "image_urls": ["a.mp4"] * 7}, []),
        ({"model": "omni-10s", "video_urls": ["v"]}, ["generation_type"]),
        ({"aspect_ratio": "16:9", "orientation": "portrait"}, ["orientation"]),
        ({"aspect_ratio": "9:16", "orientation": "portrait"}, []),
        ({"aspect_ratio": "", "orientation": "portrait"}, []),
        ({"aspect_ratio": "21:9"}, []),
        ({"image_urls": ["a"], "images": ["b"]}, ["images"]),
        ({"image_urls": ["a"], "images": ["a"]}, []),
        ({"mode": "image-to-video", "image_urls": ["a"]}, ["mode"]),
        ({"mode": "image-to-video", "image_urls": ["a"], "generation_type": "frame"}, []),
        ({"mode": "remix"}, ["mode"]),
        ({"video_urls": ["v"], "mode": "R2V"}, []),
        ({"video_urls": ["v"], "generation_type": "reference", "image_urls": ["a", "b", "c"]}, []),
        ({"extra": {"seed": 7}}, []),
    ],
)
def test_what_the_documents_leave_in_doubt_is_warned_about(fields, doubtful):
    """What a gateway ignores, or the documents contradict themselves on, is a warning and not refused."""
    assert warned(**fields) == doubtful


def test_the_bill_is_named_where_a_field_is_ignored():
    """omni-10s ignores duration and resolution and bills 10 s and 720p: the warning says so."""
    checked = JIMMY.check(VideoRequest(prompt="cat", model="omni-10s", duration=4, resolution="4k"))
    assert [str(warning) for warning in checked.warnings] == [
        "duration: omni-10s ignores it and bills 10 s",
        "resolution: omni-10s ignores it and bills 720p",
    ]


def test_what_the_model_ignores_is_not_sent():
    """What omni-10s ignores stays out of the body, whatever it is: `5` would not be in the document's list."""
    for duration, resolution in ((4, "4k"), (5, "8k")):
        assert warned(model="omni-10s", duration=duration, resolution=resolution) == ["duration", "resolution"]
        sent = body(prompt="cat", model="omni-10s", duration=duration, resolution=resolution)
        assert sent == {"model": "omni-10s", "prompt": "cat"}


# -- what is sent


def test_a_duration_is_sent_only_if_the_caller_set_it():
    """The default of 6 s is the gateway's to apply: with video_urls a duration must be absent."""
    assert "duration" not in body(prompt="cat")
    assert "duration" not in body(prompt="cat", video_urls=["v"])
    assert body(prompt="cat", duration=6)["duration"] == 6


@pytest.mark.parametrize(("said", "sent"), [("4K", "4k"), ("4k", "4k"), ("720P", "720p"), ("1080P", "1080p")])
def test_a_resolution_is_sent_as_the_document_spells_it(said, sent):
    """Upper or lower case does not matter to the caller."""
    assert faults(resolution=said) == {}
    assert body(prompt="cat", resolution=said)["resolution"] == sent


@pytest.mark.parametrize("said", [None, "Gemini-Omini", "Omni-Flash-Ext", "gemini-omni"])
def test_aliases_are_normalised(said):
    """The aliases mean Gemini-Omini, which is the default."""
    assert body(prompt="cat", model=said)["model"] == "Gemini-Omini"


def test_images_are_sent_only_when_image_urls_is_empty():
    """`images` is the older name, used when `image_urls` is empty."""
    assert body(prompt="cat", images=["b"])["images"] == ["b"]
    assert "images" not in body(prompt="cat", images=["b"], image_urls=["a"])


def test_the_callers_own_data_is_never_sent():
    """custom_id, metadata, mode and an idempotency key never reach this gateway."""
    request = VideoRequest(prompt="cat", custom_id="CANARY", metadata={"a": "CANARY"}, mode="text-to-video")
    call = JIMMY.create(request, idempotency_key="CANARY")
    assert call.body == {"model": "Gemini-Omini", "prompt": "cat"}
    assert (dict(call.params), dict(call.headers)) == ({}, {})


def test_extra_is_sent_beside_the_fields_and_overrides_none():
    """A field only a newer gateway knows is sent; one of the known ones by the back door is not."""
    assert body(prompt="cat", extra={"seed": 7}) == {"model": "Gemini-Omini", "prompt": "cat", "seed": 7}
    assert body(prompt="cat", extra={"prompt": "dog"})["prompt"] == "cat"
    assert body(prompt="cat", extra=5) == {"model": "Gemini-Omini", "prompt": "cat"}


def test_the_model_table_is_data_a_caller_can_override():
    """A newer limit is one table row away."""
    spec = ModelSpec(name="omni-20s", durations=(20,), resolutions=("8k",))
    newer = Jimmy(models=(*MODELS, spec))
    assert faults(newer, model="omni-20s", duration=20, resolution="8K") == {}
    assert newer.create(VideoRequest(prompt="cat", model="omni-20s", resolution="8K")).body["resolution"] == "8k"
    assert set(faults(Jimmy(models=()), model=None)) == {"model"}


def test_a_model_unknown_to_the_table_is_sent_as_said():
    """With `strict=False` a refused request is sent all the same, as the caller wrote it."""
    assert body(prompt="cat", model="veo-3", resolution="8K") == {"model": "veo-3", "prompt": "cat", "resolution": "8K"}


# -- the other calls


def test_ids_go_percent_encoded_into_the_path():
    """`GET …/videos/{task_id}`."""
    call = JIMMY.query("a/b c")
    assert (call.kind, call.method, call.path) == ("query", "GET", "/api/open-api/v1/videos/a%2Fb%20c")


def test_uploads_and_balances_have_their_routes():
    """Upload, account balance and key balance go where the reference pages say."""
    upload = JIMMY.upload()
    assert (upload.kind, upload.method, upload.path, upload.part) == (
        "upload",
        "POST",
        "/api/open-api/v1/files/upload",
        "file",
    )
    assert JIMMY.balance().path == "/api/open-api/v1/user/balance"
    assert JIMMY.balance("key").path == "/api/open-api/v1/key/balance"
    assert JIMMY.uploads.max_bytes == 100 * 1024 * 1024
    assert JIMMY.uploads.endings == set(
        "jpg jpeg png gif webp bmp svg mp4 mov avi webm mkv m4v flv mp3 wav aac m4a flac ogg".split()
    )


def test_the_key_and_what_the_gateway_is_like():
    """A bearer key of any prefix; 3 days of URL; looks every 5 to 15 s; no idempotency key."""
    assert JIMMY.auth("any-prefix") == {"Authorization": "Bearer any-prefix"}
    assert (JIMMY.key_variable, JIMMY.base_url_variable) == ("JIMMYAI_API_KEY", "JIMMYAI_BASE_URL")
    abilities = JIMMY.abilities
    assert (abilities.url_lifetime, abilities.min_interval, abilities.max_interval) == (3 * 86400.0, 5.0, 15.0)
    assert abilities.idempotency_field is None


def test_the_envelope_is_read_with_message_under_either_name():
    """`msg`, else `message`, else nothing; success is not a refusal."""

    def refused(document):
        return JIMMY.refused(Reply(status=200, body=json.dumps(document).encode()))

    assert refused({"code": "1", "msg": "a", "message": "b"}) == (("1",), "a")
    assert refused({"code": 1, "message": "b"}) == (("1",), "b")
    assert refused({"code": "1", "msg": 5}) == (("1",), "")
    assert refused({"code": 20000}) is None
    assert refused({"code": "20000", "msg": "ok"}) is None
    assert refused({"msg": "no code"}) is None


@pytest.mark.parametrize("word", ["failed", "error", "canceled"])
def test_what_failed_beside_a_code_of_failure_can_be_the_look_itself(word):
    """A failed look never fails a task: -1 is for now (seed), and under any other code the task must be named."""

    def read(code, task_id):
        data = {"task_id": task_id, "status": word, "progress": 0, "error_message": "no"}
        document = {"code": code, "msg": "\u67e5\u8be2\u5931\u8d25", "data": data}
        return JIMMY.read_query(Reply(status=200, body=json.dumps(document).encode()))

    for code, task_id, terminal in ((-1, "t-1", False), ("-1", "", False), ("50000", "", True)):
        with pytest.raises(DecodeError) as told:
            read(code, task_id)
        assert told.value.terminal is terminal
    assert read("50000", "t-1").status.finished
    assert read("20000", "").status.finished
