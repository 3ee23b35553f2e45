"""Reading what came back without believing it."""

import importlib.util
import json
import math
import sys
from datetime import UTC, datetime, timedelta, timezone

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_async.dialects import Call, CallKind, GeminiOmni, Jimmy, Reply, ToApis, wire
from omni_async.dialects.wire import (
    MISSING,
    amount,
    code_text,
    converter,
    dig,
    encodable,
    excerpt,
    instant,
    leaves,
    link,
    number_code,
    percent,
    segment,
    structure,
    text,
)
from omni_async.errors import DecodeError, InvalidRequestError

HALF = "\ud800"
"""Half a surrogate pair."""


@attrs.frozen
class Thing:
    """A wire class with every strict type."""

    name: str
    count: int = 0
    there: bool = False
    note: str | None = None
    names: tuple[str, ...] = ()


# -- bodies


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ('{"a": 1}'.encode("utf-16"), {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"1e400", math.inf),
        (b'"\\ud800"', HALF),
        (b"[]", []),
        (b"0", 0),
        (b"false", False),
    ],
)
@pytest.mark.parametrize("orjson", [True, False])
def test_sound_json_is_read_alike_with_and_without_orjson(monkeypatch, orjson, body, value):
    """What json reads is read whether or not orjson refuses it; of duplicate keys the last wins."""
    if not orjson:
        monkeypatch.setattr(wire, "_fast_loads", json.loads)
    assert Reply(status=200, body=body).document == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"<html>",
        b'{"a": ',
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
        b'{"a": ' + b"1" * 5000,
    ],
    ids=["empty", "null", "html", "cut", "no utf-8", "deep list", "deep object", "5,000 digits", "cut digits"],
)
@pytest.mark.parametrize("orjson", [True, False])
def test_what_is_no_json_is_missing(monkeypatch, orjson, body):
    """HTML, broken text, deep nesting and endless numbers decode to MISSING and raise nothing."""
    if not orjson:
        monkeypatch.setattr(wire, "_fast_loads", json.loads)
    assert Reply(status=200, body=body).document is MISSING


@pytest.mark.parametrize(
    ("charset", "told"),
    [
        ("gbk", "GBK"),
        ("gbk", '"gb2312"'),
        ("gb18030", "GB18030; boundary=x"),
        ("big5", "big5"),
        ("latin-1", "ISO-8859-1"),
    ],
)
def test_json_in_another_charset_is_read(charset, told):
    """If the answer names it: against RFC 8259, but a paid task hangs on it."""
    words = "café" if charset == "latin-1" else "成功"
    body = json.dumps({"data": {"task_id": "t"}, "msg": words}, ensure_ascii=False).encode(charset)
    headers = {"content-type": f"application/json;charset={told}"}
    assert Reply(status=200, headers=headers, body=body).document == {"data": {"task_id": "t"}, "msg": words}
    assert Reply(status=200, body=body).document is MISSING


@pytest.mark.parametrize("told", ["utf-8", "idna", "zip", "punycode", "unicode_escape", "", "x" * 9000])
def test_no_other_charset_is_tried(told):
    """Some of Python's codecs are not charsets, or take minutes."""
    headers = {"content-type": f"text/html; charset={told}"}
    assert Reply(status=200, headers=headers, body=b'{"a": "\xff"}').document is MISSING


def test_nan_is_read_and_is_no_amount():
    """`NaN` parses, and is neither an amount nor a time nor a progress."""
    value = Reply(status=200, body=b'{"a": NaN}').document["a"]
    assert math.isnan(value)
    assert (amount(value), instant(value), percent(value)) == (None, None, None)


def test_the_request_id_is_the_first_known_header():
    """The gateway's request id is found under the names in use, cut at 200 characters."""
    assert Reply(status=200).request_id is None
    assert Reply(status=200, headers={"cf-ray": "ray", "x-request-id": ""}).request_id == "ray"
    assert Reply(status=200, headers={"cf-ray": "ray", "x-request-id": "r" * 300}).request_id == "r" * 200


def test_reprs_of_call_and_reply_hold_no_content():
    """A call shows its route, a reply its status and size: no body, headers or parameters."""
    call = Call(
        kind=CallKind.CREATE,
        method="POST",
        path="/v1",
        params={"a": "CANARY"},
        body={"prompt": "CANARY"},
        headers={"k": "CANARY"},
    )
    reply = Reply(status=200, headers={"k": "CANARY"}, body=b"CANARY", url="https://a/?CANARY")
    assert reply.document is MISSING
    assert "CANARY" not in repr(call) + repr(reply)
    assert repr(reply) == "Reply(status=200, body=<6>, complete=True)"


# -- single values


def test_leaves_stand_under_the_names_that_lead_to_them():
    """A list's items bear its name; what lies deeper than one looks is left out."""
    document = {"a": [1, {"b": "x"}], "c": None, "d": {}, "e": [[]], "f": {"g": {"h": 2}}}
    assert list(leaves(document, 3)) == [(("a",), 1), (("a", "b"), "x"), (("c",), None), (("f", "g", "h"), 2)]
    assert list(leaves(document, 2)) == [(("a",), 1), (("c",), None)]
    assert list(leaves(document, 0)) == []
    assert list(leaves("x", 0)) == [((), "x")]


def test_dig_gives_none_where_the_path_ends():
    """A path of keys and indexes is followed as far as it goes, into nothing else."""
    document = {"data": [{"url": "u"}]}
    assert dig(document, "data", 0, "url") == "u"
    assert dig(document, "data", -1, "url") == "u"
    assert dig(document) == document
    for path in (("data", 1), ("data", "url"), ("nothing", 0), ("data", 0, "url", 0), ("data", -2), (0,)):
        assert dig(document, *path) is None


@pytest.mark.parametrize("value", [None, "", "  ", 5, True, ["a"], HALF, f"task_{HALF}"])
def test_what_says_nothing_is_no_text(value):
    """Another type, blank text, and text without a UTF-8 form are not text."""
    assert text(value) is None


def test_text_is_given_back_as_it_is():
    """A text is not stripped or changed."""
    assert text(" 猫 ") == " 猫 "
    assert encodable("猫")
    assert not encodable(HALF)


@pytest.mark.parametrize(
    ("task_id", "path"),
    [
        ("task_1", "task_1"),
        ("a/b", "a%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("a b", "a%20b"),
        ("%2e", "%252e"),
        ("猫", "%E7%8C%AB"),
        ("...", "..."),
    ],
)
def test_an_id_is_one_percent_encoded_segment(task_id, path):
    """Ids go percent-encoded into the path: no id reaches another route."""
    assert segment(task_id) == path


@pytest.mark.parametrize("task_id", ["", " ", ".", "..", HALF, None, 5])
def test_an_id_that_would_ask_for_another_path_is_refused(task_id):
    """Empty, dot segments and text without a UTF-8 form are refused before any I/O."""
    with pytest.raises(InvalidRequestError, match="task_id: is not a task id"):
        segment(task_id)


def test_a_link_is_relative_to_where_it_was_asked():
    """A relative link is resolved, an absolute one kept; a malformed one, or another type, is none."""
    assert link("https://a.example/v1/x", "/f.mp4") == "https://a.example/f.mp4"
    assert link("https://a.example/", "https://b.example/f?s=1") == "https://b.example/f?s=1"
    for broken in ("https://[broken", "", None, 5, HALF):
        assert link("https://a.example/", broken) is None


@pytest.mark.parametrize(
    ("value", "code"),
    [("20000", "20000"), (20000, "20000"), ("-1", "-1"), (-1, "-1"), ("0", "0"), (0, "0")],
)
def test_a_code_is_an_int_or_ascii_digits(value, code):
    """A numeric code comes as an integer and as text of digits: both are the same code."""
    assert number_code(value) == code


@pytest.mark.parametrize(
    "value",
    [
        20000.0,
        -1.0,
        True,
        False,
        None,
        "",
        "-",
        "--1",
        "1-",
        "+1",
        " 1",
        "1.0",
        "٢",
        "²",
        "ok",
        10**12,
        "1" * 13,
        [],
        {},
    ],
)
def test_a_malformed_code_is_none(value):
    """A float, a bool, other digits or other text is a malformed code, and so no gateway's word."""
    assert number_code(value) is None


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("x", "x"),
        ("x" * 200, "x" * 100),
        (-1, "-1"),
        (5, "5"),
        (10**12, None),
        (True, None),
        (1.0, None),
        ("", None),
        (HALF, None),
    ],
)
def test_an_errors_code_is_a_bounded_text(value, code):
    """An error's code is a text or a whole number, and at most 100 characters of it."""
    assert code_text(value) == code


@pytest.mark.parametrize(
    ("value", "progress"),
    [
        (0, 0),
        (100, 100),
        (45, 45),
        ("45", 45),
        ("45%", 45),
        ("100%", 100),
        (101, None),
        (-1, None),
        (True, None),
        (45.0, 45),
        (99.9, 99),
        ("4.5", 4),
        ("45.5%", 45),
        ("0.45%", 0),
    ]
    + [(value, None) for value in (None, "", "%", "٤", 0.45, 1.0, "0.45", "1000", "100.5", "9" * 6000, [], "45%%")],
)
def test_progress_is_0_to_100_or_unknown(value, progress):
    """An odd progress, or one that may be of 1, is unknown: it must not spoil a paid task's answer."""
    assert percent(value) == progress


NOON = datetime(2026, 4, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        1776254400,
        1776254400.0,
        1776254400000,
        "1776254400",
        "1776254400000",
        "2026-04-15T12:00:00.000Z",
        "2026-04-15T12:00:00",
        "2026-04-15T14:00:00+02:00",
    ],
)
def test_a_time_comes_in_seconds_milliseconds_or_iso(value):
    """Unix seconds, milliseconds from 10^11 on, as number or text, and ISO 8601 text are the same time, aware."""
    assert instant(value) == NOON
    assert instant(value).tzinfo is not None


def test_milliseconds_begin_at_ten_to_the_eleventh():
    """One below 10^11 is seconds of the year 5138, 10^11 itself is milliseconds of 1973."""
    assert instant(10**11 - 1).year == 5138
    assert instant(10**11) == datetime(1973, 3, 3, 9, 46, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "soon",
        0,
        -1,
        True,
        math.nan,
        math.inf,
        10**400,
        1e300,
        10**18,
        "9" * 19,
        "0",
        HALF,
        "0001-01-01T00:00:00Z",
        [],
        "1969-12-31T23:59:59Z",
    ],
)
def test_what_is_no_time_is_unknown(value):
    """Zero, the zero time of some servers, endless numbers and other text are not time, and raise nothing."""
    assert instant(value) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (1.5, 1.5), (0, 0.0), ("1", 1.0), ("9.50", 9.5), (" -2 ", -2.0)]
    + [(value, None) for value in (True, math.inf, 10**400, None, "", "9,5", "1e9", "inf", "٤")],
)
def test_an_amount_is_a_finite_number(value, number):
    """Amounts are numbers, also as text; other text, bools and endless ones are unknown."""
    assert amount(value) == number


@settings(max_examples=200, deadline=None)
@given(st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(5000, 1, 1)), st.integers(-840, 840))
def test_an_iso_time_comes_back(naive, minutes):
    """Any ISO time with any offset is the same instant again."""
    aware = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert instant(aware.isoformat()) == aware


# -- the strict converter


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({}, "$.data.name"),
        ({"name": None}, "$.data.name"),
        ({"name": 5}, "$.data.name"),
        ({"name": True}, "$.data.name"),
        ({"name": HALF}, "$.data.name"),
        ({"name": "x", "count": 0.9}, "$.data.count"),
        ({"name": "x", "count": True}, "$.data.count"),
        ({"name": "x", "count": "1"}, "$.data.count"),
        ({"name": "x", "there": 1}, "$.data.there"),
        ({"name": "x", "note": 1}, "$.data.note"),
        ({"name": "x", "names": ["a", 1]}, "$.data.names[1]"),
        (None, "$.data"),
        ("text", "$.data.name"),
        ([], "$.data.name"),
        (["name"], "$.data.name"),
        (MISSING, "$.data"),
    ],
)
def test_nothing_is_converted_into_what_it_is_not(value, path):
    """null is no 'None', 0.9 no 0, True no 1: a DecodeError with the path of the first misfit."""
    with pytest.raises(DecodeError) as caught:
        structure(value, Thing, path="$.data")
    assert caught.value.path == path
    assert path in str(caught.value)


def test_unknown_keys_are_allowed():
    """A newer gateway's fields do not disturb."""
    assert structure({"name": "x", "new": [1]}, Thing) == Thing(name="x")


def test_what_is_unset_is_left_out():
    """What stands at its default is not sent: the gateways read absence, not null."""
    assert converter().unstructure(Thing(name="x")) == {"name": "x"}
    assert converter().unstructure(Thing(name="", count=1, there=True)) == {"name": "", "count": 1, "there": True}
    assert converter().unstructure(Thing(name="x", note="n", names=("a",)))["names"] == ["a"]


def test_an_excerpt_shows_the_shape_and_no_text():
    """An excerpt has keys and types, bounded: never a text, which can be signed or a prompt."""
    document = {
        "code": "20000",
        "data": {"url": "CANARY", "list": [1, None, "CANARY", "CANARY"], "in": {"er": {"most": 1}}},
    }
    shown = excerpt(document)
    assert "CANARY" not in shown
    assert json.loads(shown) == {
        "code": "str",
        "data": {"url": "str", "list": ["int", "NoneType", "str"], "in": {"er": "dict"}},
    }
    assert excerpt(MISSING) == '"no JSON"'
    assert len(excerpt({str(n) * 50: HALF for n in range(100)})) <= 200


def test_without_orjson_json_reads(monkeypatch):
    """orjson is an extra: without it the standard library's reader is the fast one."""
    monkeypatch.setitem(sys.modules, "orjson", None)
    spec = importlib.util.spec_from_file_location("omni_async.dialects.plain_wire", wire.__file__)
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    assert plain._fast_loads is json.loads


# -- links


V = "https://video.example/v.mp4"
DIALECTS = [Jimmy(), GeminiOmni(), ToApis()]


def queried(dialect, **fields):
    """What a dialect reads in an answer about a task that has succeeded."""
    task = {"task_id": "t-1", "status": "completed", **fields}
    body = {"code": 20000, "data": task} if dialect.name == "jimmy" else task
    return dialect.read_query(Reply(status=200, body=json.dumps(body).encode(), url="https://api.example/x"))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "fields",
    [
        {"result": {"video_url": [V]}},
        {"result": [{"video_url": V}]},
        {"result": [{"url": [V]}]},
        {"result": {"url": [V]}},
        {"result": [V]},
        {"result": V},
        {"result": [V, "https://video.example/second.mp4"]},
        {"result": {"video_url": [V, "https://video.example/second.mp4"]}},
        {"result": {"video_urls": [V]}},
        {"result": json.dumps({"video_url": V})},
        {"result": json.dumps([V])},
        {"output": V},
        {"output": [V]},
        {"output": {"video_url": V}},
        {"output": {"url": V}},
        {"data": {"url": V}},
        {"data": [{"url": V}]},
        {"data": json.dumps({"url": V})},
        {"fail_reason": V},
        {"video_url": [V]},
        {"url": [V]},
    ],
    ids=json.dumps,
)
def test_a_link_in_a_list_of_its_own_is_found(dialect, fields):
    """A paid video must be reachable."""
    assert queried(dialect, **fields).video_url == V


@pytest.mark.parametrize("data", [[{"url": [V]}], {"url": V}], ids=json.dumps)
def test_a_link_in_the_results_data_is_found_in_or_out_of_its_list(data):
    """As the reference pages have it, and nearly so."""
    assert queried(ToApis(), result={"data": data}).video_url == V


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "result",
    [
        "done",
        [],
        [None],
        {"video_url": []},
        [["done"]],
        {},
        "{",
        '{"video_url": 5}',
        {"cover_url": V},
        {"image_url": V},
    ],
    ids=json.dumps,
)
def test_what_is_no_link_is_none(dialect, result):
    """A word is not a link, nor is that of a picture one of a video."""
    with pytest.raises(DecodeError, match="without a URL") as caught:
        queried(dialect, result=result)
    assert caught.value.terminal


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("status", "more"), [("completed", {"result": {"video_url": V}}), ("processing", {"progress": 10})]
)
def test_a_task_in_a_list_of_its_own_is_seen(dialect, status, more):
    """As the answer to a create may have it."""
    body = {"code": 20000, "data": [{"task_id": "t-1", "status": status, **more}]}
    task = dialect.read_query(Reply(status=200, body=json.dumps(body).encode()))
    assert (task.task_id, task.raw_status, task.progress) == ("t-1", status, more.get("progress"))
    assert task.video_url == (V if status == "completed" else None)


@pytest.mark.parametrize(
    ("told", "url"),
    [
        ("https://cdn.example/x.png?sig=a%2Fb&t=1", "https://cdn.example/x.png?sig=a%2Fb&t=1"),
        ("https://my_bucket.example:8443/x.png", "https://my_bucket.example:8443/x.png"),
        ("/files/x 视频.png", "https://gateway.example/files/x%20%E8%A7%86%E9%A2%91.png"),
        ("//cdn.example/x.png", "https://cdn.example/x.png"),
        ("https://cdn.example/猫.png?名=1", "https://cdn.example/%E7%8C%AB.png?%E5%90%8D=1"),
    ],
)
def test_an_uploaded_files_link_is_whole(told, url):
    """It goes into a paid create: whoever fetches it does not know the gateway's host, and may read ASCII alone."""
    answer = Reply(status=200, url="https://gateway.example/v1/files/upload")
    assert wire.uploaded_link(answer, {"url": told}) == url


@pytest.mark.parametrize("told", ["C:\\up\\x.png", "x.png", "file-17", "ftp://a.example/x", "https://[", ""])
def test_an_upload_without_a_usable_link_is_refused_before_anything_is_paid(told):
    """What no provider could fetch would be a paid failure."""
    answer = Reply(status=200, url="https://gateway.example/v1/files/upload")
    with pytest.raises(DecodeError, match=r"is not an http\(s\) URL"):
        wire.uploaded_link(answer, {"url": told})
