"""One record to a checked row."""

import hashlib
import json
from pathlib import Path

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omni_async.batch import rows
from omni_async.batch.record import BadRecord, SheetRecord
from omni_async.batch.rows import Checker
from omni_async.dialects import Abilities, Checked, Dialect, GeminiOmni, Jimmy, ToApis
from omni_async.errors import Fault, InvalidRequestError
from omni_async.fields import is_blank
from omni_async.identity import fingerprint, fingerprint_of
from omni_async.journal.entries import Entry, request_of
from omni_async.journal.staging import Row
from omni_async.models import VideoRequest

HERE = Path("/videos")


def check(values, *, dialect=None, cells=False, strict=True, folder=HERE, line=2):
    """One record, checked."""
    return Checker(dialect or Jimmy(), strict=strict, folder=folder).check(SheetRecord(line, values, cells))


def faults(values, **options):
    """Its faults as texts."""
    found = check(values, **options)
    assert isinstance(found, BadRecord), found
    return [str(fault) for fault in found.faults]


def asked_by(row):
    """The request that is read back from a row in the journal."""
    kept = {"custom_id": row.custom_id, "inputs": row.inputs, "metadata": row.metadata}
    return request_of(Entry(key="x", gateway="jimmy", fingerprint=row.fingerprint, state="PLANNED", **kept))


def test_a_row_knows_what_its_request_is():
    """Fingerprint, inputs, target, carried columns and kind, each from its columns."""
    row = check({"id": "b1", "prompt": "一只猫", "Duration": 6, "scene": "3", "take": None, "metadata": {"a": [1]}})
    request = VideoRequest(prompt="一只猫", duration=6)
    assert row == Row(
        line=2,
        custom_id="b1",
        fingerprint=fingerprint("jimmy", Jimmy().create(request)),
        inputs='{"prompt": "一只猫", "duration": 6}',
        metadata='{"a": [1]}',
        target="b1.mp4",
        target_key="b1.mp4",
        carried='{"scene": "3"}',
        kind="text-to-video 6 s Gemini-Omini",
        warnings=(),
    )
    assert asked_by(row) == attrs.evolve(request, custom_id="b1", metadata={"a": [1]})


@pytest.mark.parametrize(
    ("dialect", "values", "kind"),
    [
        (Jimmy(), {"resolution": "4K", "model": "gemini-omni"}, "text-to-video 4k Gemini-Omini"),
        (Jimmy(), {"model": "omni-10s", "duration": 10}, "text-to-video omni-10s"),
        (
            GeminiOmni(),
            {"duration": 6, "image_urls": ["https://a.example/1.png"]},
            "reference-to-video 6 s gemini_omni",
        ),
        (ToApis(), {"duration": 10, "resolution": "720p"}, "text-to-video 10 s 720p gemini_omni"),
    ],
)
def test_the_kind_is_read_from_the_call(dialect, values, kind):
    """What the gateway is told, in a few words: an ignored duration is none."""
    assert check({"prompt": "cat", **values}, dialect=dialect).kind == kind


def test_cells_are_read_as_what_the_field_is():
    """Whole numbers, lists between bars or as JSON, objects as JSON, everything else as text without spaces around."""
    cells = {"id": " 7 ", "prompt": " a cat ", "duration": "6.0", "model": " gemini-omni", "images": None}
    cells |= {"image_urls": "https://a.example/1.png", "extra": '{"seed": 1}', "metadata": '{"n": 1}', "note": " x "}
    row = check(cells, cells=True)
    assert json.loads(row.inputs) == {
        "prompt": "a cat",
        "duration": 6,
        "model": "gemini-omni",
        "image_urls": ["https://a.example/1.png"],
        "extra": {"seed": 1},
    }
    assert (row.custom_id, row.metadata, row.carried) == ("7", '{"n": 1}', '{"note": " x "}')
    three = "https://a.example/1.png | https://a.example/2.png|https://a.example/3.png|"
    assert len(json.loads(check({"prompt": "cat", "images": three}, cells=True).inputs)["images"]) == 3
    listed = check({"prompt": "cat", "images": '["https://a.example/1.png"]'}, cells=True)
    assert json.loads(listed.inputs)["images"] == ["https://a.example/1.png"]


def test_numbers_of_a_workbook_are_texts_where_texts_are_asked_for():
    """An id of 7, a prompt of 2077, and the aspect ratio that Excel took for a time."""
    row = check({"id": 7, "prompt": 2077, "duration": 6, "aspect_ratio": "16:09:00"}, cells=True)
    assert (row.custom_id, row.inputs) == ("7", '{"prompt": "2077", "duration": 6, "aspect_ratio": "16:9"}')


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        ({"duration": "6s"}, "duration: '6s' is not a whole number"),
        ({"duration": "6.5"}, "duration: '6.5' is not a whole number"),
        ({"duration": 6.5}, "duration: 6.5 is not a whole number"),
        ({"duration": "٦"}, "duration: '٦' is not a whole number"),
        ({"duration": "7"}, "duration: 7 is not possible"),
        ({"extra": "[]"}, "extra: is not a JSON object"),
        ({"extra": "{x}"}, "extra: is not sound JSON"),
        ({"metadata": "1"}, "metadata: is not a JSON object"),
        ({"images": '["a", 1'}, "images: is not a sound JSON list"),
        ({"prompt": "  "}, "prompt: required text"),
        ({"prompt": " \u200b\ufeff\u3164"}, "prompt: required text"),
        ({"prompt": True}, "prompt: True is not text"),
        ({"file": "../x"}, "file: "),
        ({"id": True}, "id: True is not text"),
    ],
)
def test_a_bad_cell_is_a_fault(cells, fault):
    """With the field and what is wrong."""
    (found,) = faults({"prompt": "cat", **cells}, cells=True)
    assert found.startswith(fault)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"duration": "6"}, "duration: '6' is not a whole number"),
        ({"duration": True}, "duration: True is not a whole number"),
        ({"duration": 6.0}, "duration: 6.0 is not a whole number"),
        ({"prompt": None}, "prompt: required text"),
        ({"prompt": "\ud800"}, "prompt: holds half a surrogate pair"),
        ({"id": 7}, "id: 7 is not text"),
        ({"id": " "}, "id: ' ' is not text"),
        ({"id": "\udfff"}, "id: holds half"),
        ({"id": "a", "custom_id": "b"}, "id: is given as custom_id, too"),
        ({"file": 1}, "file: is not text"),
        ({"Prompt": "dog"}, "prompt: given twice"),
        ({"image_urls": {"a": 1}}, "image_urls: is not a list"),
        ({"image_urls": [1]}, "image_urls[0]: 1 is not a URL or path; client.upload"),
        ({"metadata": "x"}, "metadata: is not a JSON object"),
        ({"metadata": {"a": "\ud800"}}, "metadata: holds half"),
        ({"scene": "\ud800"}, "scene: holds half"),
        ({"extra": 5}, "extra: is not a mapping"),
        ({"extra": {"prompt": "x"}}, "extra.prompt: is a field of its own"),
    ],
)
def test_json_values_are_taken_as_they_are(values, fault):
    """No text becomes a number, no number a text."""
    (found,) = faults({"prompt": "cat", **values})
    assert found.startswith(fault)


def test_all_faults_of_a_row_come_at_once():
    """Those of the cells, of the request and of the name."""
    found = faults({"id": True, "prompt": "", "duration": "x", "resolution": "8k", "file": "a\\b"}, cells=True)
    assert [fault.partition(":")[0] for fault in found] == ["id", "file", "duration", "prompt", "resolution"]


def test_id_and_custom_id_may_agree():
    """They are the same."""
    assert check({"prompt": "cat", "id": "a", "custom_id": "a"}).custom_id == "a"
    assert check({"prompt": "cat", "id": None, "custom_id": "b"}).custom_id == "b"


def test_the_target_is_the_file_or_the_id():
    """Or follows later, from an id that is yet to be made."""
    assert check({"prompt": "cat", "id": "猫/1"}).target == "猫_1.mp4"
    assert check({"prompt": "cat", "id": "x", "file": "EP/A"}).target == "EP/A.mp4"
    assert check({"prompt": "cat", "id": "x", "file": "EP/A"}).target_key == "ep/a.mp4"
    assert check({"prompt": "cat", "file": None}).target is None


def test_carried_columns_keep_their_names_and_order():
    """Over all rows; lists and objects become JSON text."""
    checker = Checker(Jimmy(), folder=HERE)
    assert (
        checker.check(SheetRecord(1, {"镜号": 3, "prompt": "a", "Tags": ["x"]})).carried
        == '{"镜号": 3, "Tags": "[\\"x\\"]"}'
    )
    assert checker.check(SheetRecord(2, {"Tags": None, "prompt": "a", "note": 0.5})).carried == '{"note": 0.5}'
    assert checker.carried_columns == ["镜号", "Tags", "note"]


def test_a_name_that_cannot_be_written_is_carried_nowhere():
    """Its row is bad, and the others' columns are noted all the same."""
    checker = Checker(Jimmy(), folder=HERE)
    (fault,) = checker.check(SheetRecord(1, {"prompt": "a", "half \ud83d": 1})).faults
    assert "half a surrogate pair" in str(fault)
    checker.check(SheetRecord(2, {"prompt": "a", "note": 1}))
    assert checker.carried_columns == ["note"]


def test_a_slip_is_told_once_and_every_row_with_it_is_bad():
    """It concerns the sheet: the first line tells it, none of the others is paid for."""
    checker = Checker(Jimmy(), folder=HERE)
    found = [checker.check(SheetRecord(line, {"prompt": "a", "durration": 6})) for line in (1, 2)]
    found.append(checker.check(SheetRecord(3, {"prompt": "a", "durration": 6, "modle": "x"})))
    assert [[fault.field for fault in bad.faults] for bad in found] == [["durration"], [], ["modle"]]
    assert "did you mean 'duration'" in found[0].faults[0].problem
    assert checker.carried_columns == []


def test_what_else_is_wrong_with_a_row_is_told_beside_a_slip():
    """All its faults at once; but for those of the field that the slip stands for."""
    checker = Checker(Jimmy(), folder=HERE)
    rows = [{"promt": "a", "duration": 7, "file": "../a"}, {"promt": "b", "resolution": "8k"}, {"promt": "c"}]
    found = [checker.check(SheetRecord(line, row)) for line, row in enumerate(rows, 1)]
    told = [[fault.field for fault in bad.faults] for bad in found]
    assert told == [["promt", "file", "duration"], ["resolution"], []]


def test_data_in_the_place_of_names_is_refused(monkeypatch):
    """Every row with another column is not a sheet, and must not fill the memory."""
    monkeypatch.setattr(rows, "MOST_NAMES", 5)
    checker = Checker(Jimmy(), folder=HERE)
    for number in range(5):
        checker.check(SheetRecord(number, {"prompt": "a", f"column number {number}": 1}))
    with pytest.raises(InvalidRequestError, match="more than 5 columns"):
        checker.check(SheetRecord(6, {"prompt": "a", "column number 6": 1}))


def test_without_strictness_rules_are_warnings():
    """What no gateway could make sense of stays a fault."""
    row = check({"prompt": "cat", "duration": 7}, strict=False)
    assert [warning.field for warning in row.warnings] == ["duration"]
    assert faults({"prompt": "cat", "duration": "7"}, strict=False) == [
        "duration: '7' is not a whole number of seconds"
    ]


@pytest.mark.parametrize("images", [("a.png",), [Path("a.png")], Path("a.png")])
def test_references_of_a_program_are_taken_as_a_request_takes_them(images, tmp_path):
    """A tuple and paths, which no file holds, count as the list of texts they stand for."""
    (tmp_path / "a.png").write_bytes(b"picture")
    row = Checker(Jimmy(), folder=tmp_path).check(SheetRecord(1, {"prompt": "cat", "image_urls": images}))
    assert json.loads(row.inputs)["image_urls"] == [str(tmp_path / "a.png")]


def test_a_local_file_is_found_beside_the_sheet_and_counts_by_its_content(tmp_path):
    """Moved, it is the same; changed, it is another; a link stays as it is."""
    (tmp_path / "one").mkdir()
    link = "https://a.example/2.png"
    for name in ("a.png", "one/b.png"):
        (tmp_path / name).write_bytes(b"picture")
    checker = Checker(Jimmy(), folder=tmp_path)

    def of(*images):
        return checker.check(SheetRecord(2, {"prompt": "cat", "image_urls": [*images, link, link]}))

    row = of("a.png")
    assert json.loads(row.inputs)["image_urls"] == [str(tmp_path / "a.png"), link, link]
    request = asked_by(row)
    digest = hashlib.sha256(b"picture").hexdigest()
    assert row.fingerprint == fingerprint_of(Jimmy(), request, {str(tmp_path / "a.png"): digest})
    assert row.fingerprint == of("one/b.png").fingerprint == of(str(tmp_path / "a.png")).fingerprint
    (tmp_path / "a.png").write_bytes(b"another picture")
    assert of("a.png").fingerprint != row.fingerprint


def test_a_local_file_that_cannot_be_uploaded_is_a_fault(tmp_path):
    """Not there, empty, of another kind; or the gateway takes no uploads."""
    (tmp_path / "empty.png").touch()
    for name, problem in (("no.png", "cannot be read"), ("empty.png", "is empty"), ("a.txt", "an ending")):
        (found,) = faults({"prompt": "cat", "image_urls": name}, cells=True, folder=tmp_path)
        assert problem in found
    (found,) = faults({"prompt": "cat", "images": ["a.png"]}, dialect=Jimmy(uploads=None))
    assert "takes no uploads" in found


URL = "https://a.example/1.png"
MARKS = st.sampled_from(["cat", '"', "\\", "\u2028", "猫\n", "stand-in", ", ", "}", "\ud800", "\x7f\x01", ""])
PROMPTS = st.lists(MARKS, max_size=4).map("".join) | st.text(max_size=8) | st.sampled_from([None, 1, True, [], "  "])
SCALARS = st.none() | st.sampled_from([0, 1, 6, 10, 6.0, -0.0, 0.0, True, False, "6", "6.0", "x", "", " ", [], {}, [1]])
FIELDS = st.fixed_dictionaries(
    {"prompt": PROMPTS},
    optional={
        "id": SCALARS | st.text(max_size=4),
        "duration": SCALARS,
        "model": SCALARS | st.sampled_from(["omni-10s", "gemini_omni", "gemini_omni_flash", "Gemini-Omini"]),
        "Resolution": SCALARS | st.sampled_from(["720p", "720P", "4k"]),
        "aspect_ratio": SCALARS | st.sampled_from(["16:9", "16:09", "9:16:00"]),
        "orientation": SCALARS | st.sampled_from(["landscape", "portrait"]),
        "mode": SCALARS | st.sampled_from(["text-to-video", "R2V"]),
        "image_urls": SCALARS | st.sampled_from([[URL], f"{URL}|{URL}|{URL}", [URL, 1], "a.png"]),
        "video_urls": SCALARS | st.just([URL]),
        "extra": SCALARS | st.sampled_from([{"seed": 1}, {"z": "cat"}, '{"seed": 1}', {"prompt": 1}, {"a": "\ud800"}]),
        "metadata": SCALARS | st.just({"a": 1}),
        "scene": SCALARS,
    },
)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def no_shapes(dialect):
    """The same dialect, not asked to treat prompts alike."""
    return attrs.evolve(dialect, abilities=attrs.evolve(dialect.abilities, prompt_apart=False))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(FIELDS, min_size=1, max_size=6),
    st.sampled_from([Jimmy(), GeminiOmni(), ToApis()]),
    st.booleans(),
    st.booleans(),
)
@example([{"prompt": "a", "duration": 1}, {"prompt": "b", "duration": True}], Jimmy(), False, False)
def test_the_fast_way_gives_what_the_slow_way_gives(records, dialect, cells, strict):
    """Fingerprint, inputs, kind, warnings and faults, whatever prompts hold and whichever rows come before."""
    fast = Checker(dialect, strict=strict, folder=HERE)
    slow = Checker(no_shapes(dialect), strict=strict, folder=HERE)
    for line, values in enumerate([*records, *records]):
        record = SheetRecord(line, values, cells)
        assert repr(fast.check(record)) == repr(slow.check(record))


@given(PROMPTS.filter(lambda prompt: isinstance(prompt, str) and not is_blank(prompt) and "\ud800" not in prompt))
def test_the_fingerprint_is_that_of_the_request(prompt):
    """Batch and client know a create by the same hash."""
    checker = Checker(ToApis(), folder=HERE)
    row = checker.check(SheetRecord(1, {"prompt": prompt, "duration": 6, "extra": {"z": prompt}}))
    request = asked_by(row)
    assert request.prompt == prompt
    assert row.fingerprint == fingerprint_of(ToApis(), request, {})


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["prompt", "id", "file", "extra", "images", "metadata", "x"]), ANY), max_size=5
    ),
    st.booleans(),
    st.booleans(),
)
def test_records_of_any_kind_raise_nothing_of_others(records, cells, strict):
    """Whatever a line holds, it becomes a row whose texts can be stored, or is told to be bad."""
    checker = Checker(Jimmy(), strict=strict, folder=HERE)
    for line, values in enumerate(records):
        found = checker.check(SheetRecord(line, values, cells))
        assert isinstance(found, Row | BadRecord)
        if isinstance(found, Row):
            "".join(text for text in attrs.astuple(found, recurse=False) if isinstance(text, str)).encode()
            asked_by(found)
        else:
            assert found.faults


def test_a_shape_is_checked_once(monkeypatch):
    """A thousand rows that differ by prompt, id and scene cost one check."""
    asked = []
    monkeypatch.setattr(Jimmy, "check", lambda _, request: asked.append(request) or Checked())
    checker = Checker(Jimmy(), folder=HERE)
    for number in range(1000):
        checker.check(
            SheetRecord(number, {"id": f"b{number}", "prompt": f"cat {number}", "duration": 6, "scene": number})
        )
    assert len(asked) == 1


def test_the_shapes_remembered_are_bounded(monkeypatch):
    """Rows that all differ take no more memory."""
    monkeypatch.setattr(rows, "SHAPES", 10)
    checker = Checker(Jimmy(), folder=HERE)
    for number in range(100):
        checker.check(SheetRecord(number, {"prompt": "cat", "extra": {"n": number}}))
        checker.check(SheetRecord(number, {"prompt": "cat", "x" * (number + 20): number}))
    assert sum(len(layout.shapes) for layout in checker._layouts.values()) <= 10
    assert len(checker._layouts) <= 10


class Wordy(Jimmy):
    """Promises to place the prompt as it is, and does not."""

    def create(self, request, *, idempotency_key=None):
        call = super().create(request)
        return attrs.evolve(call, body={**call.body, "letters": len(request.prompt)})


class Refusing(Jimmy):
    """Refuses in create."""

    def create(self, request, *, idempotency_key=None):
        raise InvalidRequestError("no", faults=(Fault("prompt", "not today"),))


def test_a_dialect_that_breaks_its_word_is_found_out():
    """A second stand-in shows that the call cannot be cut: the rows go the slow way."""
    row = check({"prompt": "a longer cat"}, dialect=Wordy())
    assert row.fingerprint == fingerprint("jimmy", Wordy().create(VideoRequest(prompt="a longer cat")))


class Picky(Jimmy):
    """Promises to treat prompts alike, and refuses some."""

    def create(self, request, *, idempotency_key=None):
        if '"' in request.prompt:
            raise InvalidRequestError("no", faults=(Fault("prompt", "no quotes"),))
        return super().create(request)


def test_a_dialect_that_refuses_a_stand_in_is_asked_row_by_row():
    """Only rows it refuses are bad."""
    assert check({"prompt": "cat"}, dialect=Picky()) == check({"prompt": "cat"})
    assert faults({"prompt": 'a "cat"'}, dialect=Picky()) == ["prompt: no quotes"]


def test_what_create_refuses_is_a_fault():
    """Also of a dialect of the caller's own."""
    assert faults({"prompt": "cat"}, dialect=Refusing()) == ["prompt: not today"]


def test_a_dialect_that_promises_nothing_goes_the_slow_way():
    """That is the default."""
    assert Dialect.abilities.prompt_apart is Abilities().prompt_apart is False
    assert check({"prompt": "cat"}, dialect=no_shapes(Jimmy())) == check({"prompt": "cat"})
