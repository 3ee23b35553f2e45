"""A glance at an answer spares reading it: so it must never see anything else in it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_async.dialects import GATEWAYS, Dialect, Glance, Reply, dialect_named
from omni_async.dialects.words import STATUS_WORDS
from omni_async.errors import DecodeError
from omni_async.models import TaskStatus

ALL = [dialect_named(name) for name in GATEWAYS]
words = st.sampled_from([*STATUS_WORDS, "Processing", " RUNNING ", "in_queue", "\u212aueued", None, 5, True])
fields = st.fixed_dictionaries(
    {},
    optional={
        "status": words,
        "progress": st.one_of(st.none(), st.integers(-5, 200), st.floats(0, 100), st.sampled_from(["40", "40%", "x"])),
        "task_id": st.sampled_from(["t-1", "", None, 7]),
        "created_at": st.sampled_from([1790000000, "2026-11-22T00:00:00Z", "soon", None]),
        "url": st.sampled_from(["https://cdn.example/v.mp4", None]),
        "error": st.sampled_from([None, "no", {"code": "internal_error", "message": "no"}]),
    },
)
envelopes = st.fixed_dictionaries(
    {"data": st.one_of(fields, st.lists(fields, max_size=1), st.none())},
    optional={"code": st.sampled_from(["20000", 20000, "20001", "-1", 0, None]), "status": words, "msg": st.just("ok")},
)


def reply(document):
    """An answer with this document."""
    return Reply(status=200, body=json.dumps(document).encode())


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
@settings(max_examples=300)
@given(document=st.one_of(fields, envelopes))
def test_a_glance_sees_what_a_reading_sees(dialect, document):
    """Whatever the answer: a glance agrees with `read_query`, and never takes a finished task for a running one."""
    glance = dialect.glance(reply(document))
    if glance is not None:
        task = dialect.read_query(reply(document))
        assert glance == Glance(task.status, task.raw_status, task.progress)
        assert not task.status.finished


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"<html>", b'{"data": {"status": "processing"'])
@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_what_is_no_answer_is_left_to_reading(dialect, body):
    """There is nothing to see in it, and no exception."""
    assert dialect.glance(Reply(status=200, body=body)) is None


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
def test_the_usual_answer_of_a_running_task_is_glanced_at(dialect):
    """Else nothing would be spared."""
    task = {"task_id": "t-1", "id": "t-1", "status": "processing", "progress": 40}
    told = {"code": "20000", "msg": "ok", "data": task} if dialect.name == "jimmy" else task
    assert dialect.glance(reply(told)) == Glance(TaskStatus.RUNNING, "processing", 40)


def test_a_dialect_of_the_callers_reads_everything():
    """`glance` has a default that leaves all to `read_query`."""

    class Mine(Dialect):
        create = query = read_create = None

        def read_query(self, reply):
            raise DecodeError("not asked")

    assert Mine().glance(reply({"status": "processing"})) is None
