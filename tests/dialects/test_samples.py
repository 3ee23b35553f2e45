"""Every recorded sample, read by its gateway's dialect."""

import json
from datetime import datetime

import attrs
import pytest

from omni_async import errors
from omni_async.dialects import GATEWAYS, Meaning, Reply, dialect_named, judge_create, refusal_of, wire
from omni_async.models import VideoRequest, VideoTask

from .samples import ROOT, Sample, name, samples


@pytest.fixture(params=["with orjson", "without orjson"])
def loads(request, monkeypatch):
    """Both JSON readers."""
    if request.param == "without orjson":
        monkeypatch.setattr(wire, "_fast_loads", json.loads)
    else:
        pytest.importorskip("orjson")


def told(task: VideoTask, sample: Sample) -> dict:
    """The fields of a task that a sample expects, as plain JSON."""
    every = attrs.asdict(task) | {
        "finished": task.status.finished,
        "moderated": sample.dialect.moderated(task.error_code, task.error_message),
    }
    every = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in every.items()}
    return {key: every[key] for key in sample.expected["task"]}


@pytest.mark.parametrize("sample", samples("request"), ids=name)
def test_a_request_becomes_the_call_of_the_documents_field_for_field(sample):
    """A described request becomes exactly the call the documents show, and warns of what they leave in doubt."""
    request = VideoRequest.of(sample.read("request.json"), {})
    call, wanted = sample.dialect.create(request), sample.read("call.json")
    checked = sample.dialect.check(request)
    assert (call.method, call.path, call.body) == (wanted["method"], wanted["path"], wanted["body"])
    assert checked.faults == ()
    assert [warning.field for warning in checked.warnings] == sample.expected["warnings"]


@pytest.mark.parametrize("sample", samples("create"), ids=name)
def test_a_create_answer_means_what_the_table_says(sample, loads):
    """The answer to a create is submitted, refused for a kind, or uncertain, as the sample says."""
    verdict = judge_create(sample.dialect, sample.reply)
    expected = sample.expected
    assert verdict.meaning == expected["meaning"]
    if verdict.meaning is Meaning.SUBMITTED:
        assert verdict.task_id == expected["task_id"]
        assert told(sample.dialect.read_create(sample.reply), sample) == expected["task"]
    elif verdict.meaning is Meaning.REFUSED:
        assert (verdict.refusal.kind, verdict.refusal.code) == (expected["kind"], expected["code"])
        assert "cause" not in expected or verdict.refusal.cause == expected["cause"]
    else:
        assert expected["reason"] in verdict.reason
        assert verdict.candidate == expected["candidate"]
        assert "s3cret" not in verdict.reason


@pytest.mark.parametrize("sample", samples("query"), ids=name)
def test_a_query_answer_is_the_task_or_a_decode_error(sample, loads):
    """A query's answer is the task with these fields, or a DecodeError with the path of what is missing."""
    dialect, reply, expected = sample.dialect, sample.reply, sample.expected
    if "task" in expected:
        task = dialect.read_query(reply)
        assert told(task, sample) == expected["task"]
        assert task.raw == reply.document
    else:
        with pytest.raises(errors.DecodeError) as caught:
            dialect.read_query(reply)
        assert caught.value.path == expected["decode_error"]
    if "refusal" in expected:
        refusal = refusal_of(dialect, reply)
        assert (refusal and refusal.kind) == expected["refusal"]


@pytest.mark.parametrize("sample", samples("upload"), ids=name)
def test_an_upload_answer_is_a_url_or_a_decode_error(sample, loads):
    """An upload's answer is its URL, or a DecodeError; `success: false` comes with HTTP 200."""
    if "url" in sample.expected:
        assert sample.dialect.read_upload(sample.reply) == sample.expected["url"]
    else:
        with pytest.raises(errors.DecodeError) as caught:
            sample.dialect.read_upload(sample.reply)
        assert caught.value.path == sample.expected["decode_error"]


@pytest.mark.parametrize("sample", samples("balance"), ids=name)
def test_a_balance_answer_is_a_balance_or_a_decode_error(sample, loads):
    """A balance's answer, of the account or of the key, is what is left, used and in all."""
    if "balance" in sample.expected:
        balance = attrs.asdict(sample.dialect.read_balance(sample.reply))
        assert {key: balance[key] for key in sample.expected["balance"]} == sample.expected["balance"]
    else:
        with pytest.raises(errors.DecodeError) as caught:
            sample.dialect.read_balance(sample.reply)
        assert caught.value.path == sample.expected["decode_error"]


def test_every_sample_says_where_it_comes_from():
    """Each sample's source is one of the four that the README names, and there are samples of every gateway."""
    metas = [json.loads(file.read_text(encoding="utf-8")) for file in ROOT.glob("*/*/meta.json")]
    assert {meta["source"] for meta in metas} == {"seed", "docs", "seen", "inferred"}
    assert all(any(ROOT.glob(f"{gateway}/*/meta.json")) for gateway in GATEWAYS)


def test_the_guide_and_the_flat_shape_are_read_by_either_dialect():
    """One decoder: what one of the two dialects reads, the other reads alike."""
    for sample in (*samples("create"), *samples("query")):
        if sample.gateway == "jimmy" or "task" not in sample.expected:
            continue
        read = "read_create" if sample.meta["kind"] == "create" else "read_query"
        tasks = [getattr(dialect_named(gateway), read)(sample.reply) for gateway in ("gemini_omni", "toapis")]
        assert attrs.evolve(tasks[0], gateway="") == attrs.evolve(tasks[1], gateway=""), name(sample)


def test_an_answer_is_decoded_once():
    """`Reply.document` is decoded once, and is MISSING for a body that is not JSON or says nothing."""
    reply = Reply(status=200, body=b'{"a": 1}')
    assert reply.document is reply.document
    assert Reply(status=200, body=b"null").document is wire.MISSING
    assert Reply(status=200).document is wire.MISSING
