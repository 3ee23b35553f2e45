"""A caller's own dialect: seven questions answered, and a gateway nobody here knows is spoken to."""

import json
from datetime import UTC, datetime

import pytest

from omni_async.dialects import Dialect, Meaning, RefusalKind, Reply, judge_create
from omni_async.errors import DecodeError, InvalidRequestError
from omni_async.models import TaskStatus, VideoRequest
from tests.foreign import CREATE, QUERY, Foreign

DIALECT = Foreign()


def reply(document, status=200):
    """An answer of the foreign gateway."""
    return Reply(status=status, body=json.dumps(document).encode())


def test_the_calls_are_the_callers_own():
    """Route, body and the id in the query string are what the caller's dialect says."""
    create = DIALECT.create(VideoRequest(prompt="cat"))
    assert (create.kind, create.method, create.path) == ("create", "POST", CREATE)
    assert create.body == {"text": "cat", "seconds": 5}
    query = DIALECT.query("a/b?c")
    assert (query.kind, query.method, query.path, query.params) == ("query", "GET", QUERY, {"render": "a/b?c"})


def test_the_key_goes_where_the_caller_says():
    """`x-api-key` instead of `Authorization`."""
    assert DIALECT.auth("k") == {"x-api-key": "k"}


def test_the_inherited_check_wants_a_prompt():
    """Without a model table of its own a dialect still refuses a request without prompt."""
    assert DIALECT.check(VideoRequest(prompt="cat")).faults == ()
    assert [fault.field for fault in DIALECT.check(VideoRequest(prompt=" ")).faults] == ["prompt"]
    assert [fault.field for fault in DIALECT.check(VideoRequest(prompt=5)).faults] == ["prompt"]


def test_data_as_an_array_holds_the_id():
    """A create's `data` can be an array, and its status in capitals."""
    answer = reply({"data": [{"task_id": "r-1", "state": "WAIT", "madeAt": 1744699200123}]})
    assert judge_create(DIALECT, answer).task_id == "r-1"
    task = DIALECT.read_create(answer)
    assert (task.task_id, task.status, task.raw_status) == ("r-1", TaskStatus.QUEUED, "WAIT")
    assert task.created_at == datetime(2025, 4, 15, 6, 40, 0, 123000, tzinfo=UTC)


def test_the_result_is_json_text_inside_json():
    """The URL is found in JSON text inside the JSON; a finished task without it is a DecodeError."""
    url = "https://cdn.example/1.mp4"
    data = {"task_id": "r-1", "state": "FINISH", "output": json.dumps({"video": url})}
    assert DIALECT.read_query(reply({"data": data})).video_url == url
    for broken in (None, "{", "[]", '{"video": 5}', 7):
        with pytest.raises(DecodeError):
            DIALECT.read_query(reply({"data": {**data, "output": broken}}))


def test_an_unknown_word_is_still_running():
    """A status word the dialect does not know means still running."""
    assert DIALECT.read_query(reply({"data": {"state": "POLISH"}})).status is TaskStatus.RUNNING


def test_refusals_are_the_callers_table():
    """Its refusal table is data; what is not in it falls to the common rows."""
    busy = judge_create(DIALECT, reply({"error": {"code": "E_BUSY", "message": "wait"}}))
    assert (busy.meaning, busy.refusal.kind) == (Meaning.REFUSED, RefusalKind.RATE)
    assert judge_create(DIALECT, reply({"error": {"code": "E_NEW"}})).meaning is Meaning.UNCERTAIN
    assert judge_create(DIALECT, reply({"error": {"code": "E_NEW"}}, 400)).refusal.kind is RefusalKind.BAD_REQUEST
    assert judge_create(DIALECT, reply({}, 429)).refusal.kind is RefusalKind.RATE


def test_what_the_gateway_cannot_do_is_an_error_before_any_io():
    """Uploads and balances that a gateway does not have are refused by name."""
    with pytest.raises(InvalidRequestError, match="gateway foreign takes no uploads; give URLs"):
        DIALECT.upload()
    with pytest.raises(InvalidRequestError, match="gateway foreign tells no key balance"):
        DIALECT.balance("key")
    with pytest.raises(DecodeError):
        DIALECT.read_upload(reply({}))
    with pytest.raises(DecodeError):
        DIALECT.read_balance(reply({}))


def test_a_dialect_must_answer_the_four_that_have_no_default():
    """A dialect without create, query, read_create or read_query cannot be made."""
    with pytest.raises(TypeError, match="abstract"):
        Dialect()


def test_the_inherited_places_of_an_id():
    """By default an id is looked for as task_id before id, in data, in its first item and at the top."""
    for document in (
        {"data": {"task_id": "t", "id": "x"}, "id": "y"},
        {"data": [{"task_id": "t"}], "id": "y"},
        {"task_id": "t", "data": {"id": "x"}},
        {"data": {"id": "t"}, "id": "y"},
        {"data": [{"id": "t"}]},
        {"id": "t"},
        {"choices": [], "id": "x", "task_id": "t"},
    ):
        assert DIALECT.find_task_id(document) == "t", document
    for document in (None, [], {}, {"id": 5}, {"data": []}, {"choices": [], "id": "x"}, {"id": "\ud800"}, "t"):
        assert DIALECT.find_task_id(document) is None, document
