"""Reading sheets."""

import io
import json
import random
import sys
import tracemalloc
from datetime import date, datetime, time

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_async.batch import strictjson
from omni_async.batch.record import BadRecord, SheetRecord
from omni_async.batch.sheet import open_sheet
from omni_async.errors import InvalidRequestError, OmniError
from tests.batch.languages import CHINESE, DISGUISED, ORDINARY, UNCHINESE


def read(data, **options):
    """Every record of a sheet that comes as a stream."""
    with open_sheet(io.BytesIO(data), **options) as sheet:
        return list(sheet)


def refusal(data, **options):
    """The message of the error that a sheet as a whole is refused with."""
    with pytest.raises(InvalidRequestError) as caught:
        read(data, **options)
    assert caught.value.may_have_charged is False
    return str(caught.value)


def prompts(data, **options):
    """The prompts of a sheet."""
    return [record.values["prompt"] for record in read(data, **options)]


def problems(records):
    """Line and problem of what could not be read."""
    return [(bad.line, fault.problem) for bad in records if isinstance(bad, BadRecord) for fault in bad.faults]


TABLE = "id,prompt\n1,一只小猫走在雨夜里\n2,镜头慢慢推近\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_chinese_sheets_are_read_as_office_programs_save_them(encoding, ending):
    """UTF-8 with and without its mark, UTF-16 with it, and GB18030 need no option; the mark is not a part of a name."""
    assert read(TABLE.replace("\n", ending).encode(encoding)) == [
        SheetRecord(2, {"id": "1", "prompt": "一只小猫走在雨夜里"}, cells=True),
        SheetRecord(3, {"id": "2", "prompt": "镜头慢慢推近"}, cells=True),
    ]


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_utf_16_is_read_in_either_order(mark):
    """The mark tells the order of bytes."""
    order = "utf-16-le" if mark == b"\xff\xfe" else "utf-16-be"
    text = '{"prompt": "猫"}\n'
    assert prompts(mark + text.encode(order)) == prompts(mark + text.encode(order), encoding="utf-16") == ["猫"]


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_utf_8_in_any_language_is_read(text):
    """What people write is never stopped, as CSV or JSONL."""
    quoted = text.replace('"', '""')
    assert prompts(f'id,prompt\n1,"{quoted}"\n'.encode()) == [text]
    assert prompts(json.dumps({"prompt": text}, ensure_ascii=False).encode()) == [text]


@pytest.mark.parametrize("phrase", DISGUISED)
def test_gb18030_that_is_valid_utf_8_is_asked_about(phrase):
    """The error shows both readings and names both options; with either of them it is read."""
    data = f"id,prompt\n1,a cat\n2,{phrase}\n".encode("gb18030")
    told = refusal(data)
    assert "line 3" in told
    assert phrase[:20] in told
    assert "encoding='utf-8' or encoding='gb18030'" in told
    assert prompts(data, encoding="gb18030") == ["a cat", phrase]
    assert prompts(data, encoding="utf-8") == ["a cat", phrase.encode("gb18030").decode()]


def test_gb18030_is_never_read_as_something_else():
    """Thousands of phrases of common characters are read as they were written, or asked about."""
    chance, asked = random.Random(7), 0
    for _ in range(3000):
        pairs = (
            bytes([chance.randrange(0xB0, 0xD7), chance.randrange(0xA1, 0xFF)]) for _ in range(chance.randint(6, 12))
        )
        phrase = b"".join(pairs).decode("gb18030")
        try:
            assert prompts(f"id,prompt\n1,{phrase}\n".encode("gb18030")) == [phrase]
        except InvalidRequestError:
            asked += 1
    assert 0 < asked < 100


def test_the_encoding_is_found_out_however_late_it_shows():
    """A hundred thousand plain lines come first."""
    plain = b"".join(b"%d,a cat\n" % number for number in range(100_000))
    assert prompts(b"id,prompt\n" + plain + "x,小猫走在雨夜里".encode("gb18030"))[-1] == "小猫走在雨夜里"
    assert "line 100002: reads" in refusal(b"id,prompt\n" + plain + "x,一只猫".encode("gb18030"))


def test_bytes_that_fit_no_encoding_are_told_with_their_line():
    """First ones, later ones, and those of the encoding that was named."""
    late = "prompt\n一只小猫走在雨夜里\n".encode() + b"ok\n\xff\xfe\xff\n"
    assert "line 4: holds bytes that are not UTF-8 (ff)" in refusal(late)
    assert "line 2: is neither UTF-8 nor GB18030" in refusal(b"prompt\n\xff\xff\xff")
    assert "line 3: holds bytes that are not GB18030" in refusal(b"prompt\nok\n\xff\xff", encoding="gb18030")
    assert "line 3: holds bytes that are not BIG5" in refusal(b"prompt\nok\n\xff\xff", encoding="big5")
    assert "line 2: holds bytes that are not UTF-16-LE" in refusal(
        "\ufeffprompt\n".encode("utf-16-le") + b"\x00\xd8a\x00"
    )


def test_latin_1_is_not_taken_for_gb18030():
    """`déjà vu` is valid GB18030, in which the accents eat the letters behind them."""
    data = "prompt;id\ndéjà vu, garçon\n".encode("latin-1")
    assert "name the encoding" in refusal(data)
    assert prompts(data, encoding="latin-1") == ["déjà vu, garçon"]


@pytest.mark.parametrize(("encoding", "texts"), UNCHINESE.items())
def test_other_encodings_are_not_taken_for_gb18030(encoding, texts):
    """Whole sheets, single prompts and pieces of them: what fits GB18030 and gives no Chinese must be named."""
    pieces = [text[at : at + 6] for text in texts for at in range(0, len(text), 3)]
    for rows in (texts, *([text] for text in (*texts, *pieces))):
        sheet = "id,prompt\n" + "".join(f'{number},"{text}"\n' for number, text in enumerate(rows))
        if sheet.isascii():
            continue
        data = sheet.encode(encoding)
        assert "name the encoding" in refusal(data)
        assert prompts(data, encoding=encoding) == rows


def test_gb18030_needs_few_letters():
    """Chinese prompts of seven characters and more need no option, also with a name that GB2312 lacks."""
    for text in CHINESE:
        assert prompts(f"id,prompt\n1,{text}\n".encode("gb18030")) == [text]


def test_gibberish_is_shown_as_it_would_have_been_read():
    """With the line it begins on, and the encodings it may be in."""
    told = refusal("id,prompt\n1,a cat\n2,고양이\n".encode("euc-kr"))
    assert "line 3: is not UTF-8, and its letters read “绊剧捞” as GB18030: is it Big5, Shift-JIS, EUC-KR?" in told


def test_a_line_read_as_utf_8_before_gb18030_shows_is_no_guess():
    """When a later line is not UTF-8, the earlier ones may have been misread: it is asked."""
    data = "prompt\ncat猫\n小猫走在雨夜里\n".encode("gb18030")
    assert "line 3: is not UTF-8, as which line 2 was read" in refusal(data)


@pytest.mark.parametrize(("told", "by"), [("sep=;", ";"), ('"sep=,"', ","), ("SEP=\t", "\t"), ("sep=|", "|")])
def test_excels_line_that_tells_the_delimiter(told, by):
    """It is not a header; what it says is believed, and lines are counted with it."""
    (record,) = read(f'{told}\r\nid{by}prompt\r\n1{by}"a cat, a dog; both"\r\n'.encode("utf-8-sig"))
    assert record == SheetRecord(3, {"id": "1", "prompt": "a cat, a dog; both"}, cells=True)


def test_a_file_that_is_not_there_is_named(tmp_path):
    """With its whole path, as it was given."""
    with pytest.raises(InvalidRequestError) as caught:
        open_sheet(tmp_path / "nope.csv")
    assert f"{tmp_path / 'nope.csv'} cannot be opened (No such file or directory)" in str(caught.value)


def test_utf_16_without_its_mark_must_be_named():
    """NUL bytes at the head are told for what they are."""
    data = "id,prompt\n1,猫\n".encode("utf-16-le")
    assert "utf-16-le" in refusal(data)
    assert prompts(data, encoding="utf-16-le") == ["猫"]


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13", "idna", "a\0b", "undefined"])
def test_an_unknown_encoding_is_refused(encoding):
    """Also one that is none of text."""
    assert "is not a text encoding" in refusal(b"", encoding=encoding)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_that_of_the_header(delimiter):
    """Commas, semicolons and tabs, whatever stands in the cells."""
    data = delimiter.join(["id", "prompt", "note"]) + "\n" + delimiter.join(["1", '"a; b, c\td"', "x"])
    assert read(data.encode())[0].values == {"id": "1", "prompt": "a; b, c\td", "note": "x"}


def test_a_header_that_names_more_fields_wins():
    """A carried name may hold other delimiters."""
    assert read(b"id;prompt;a,b,c,d,e\n1;cat;x")[0].values == {"id": "1", "prompt": "cat", "a,b,c,d,e": "x"}


def test_the_line_is_where_the_row_begins():
    """Quoted cells may hold line ends; empty rows and rows of empty cells are left out."""
    data = b'\n , \nprompt,note\n"two\nlines",x\n\n,\n  ,\nlast,"y\r\nz"\n'
    assert [(record.line, record.values["prompt"]) for record in read(data)] == [(4, "two\nlines"), (9, "last")]
    assert read(data)[1].values["note"] == "y\r\nz"


def test_an_empty_cell_is_not_set():
    """None in its place; a row may end early."""
    assert [record.values for record in read(b"prompt,duration,note\ncat,,x\ndog")] == [
        {"prompt": "cat", "duration": None, "note": "x"},
        {"prompt": "dog", "duration": None, "note": None},
    ]


def test_every_bad_row_is_told():
    """Too many cells, quotes in the middle: the others are read."""
    found = read(b'prompt,note,\ncat,x,\ndog,y,z\na "b" c,\n"a" b,\nlast,\n')
    assert [record.line for record in found if isinstance(record, SheetRecord)] == [2, 4, 6]
    assert [line for line, _ in problems(found)] == [3, 5]
    assert "stands under no name" in problems(found)[0][1]
    assert "quote in the middle" in problems(found)[1][1]
    assert found[1].rest == SheetRecord(3, {"prompt": "dog", "note": "y"}, cells=True)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is empty"),
        (b"\n\n ,\n", "it is empty"),
        (b"a cat,6\na dog,6", "prompt: no such column"),
        (b"prompt,prompt\n", "stands in the header twice"),
        (b"promt\ncat", "did you mean 'prompt'"),
        (b"prompt,n\ncat,\0\n", "line 2: holds a NUL byte"),
        (b'prompt,n\nok,\n"cat,\ndog,\nbird,', "line 3: a quoted cell begins here"),
        (b'prompt,n\nok,\n"cat,1\n"dog",2\n', "line 3: a quoted cell begins here"),
        (b'"prompt', "line 1: a quoted cell begins here"),
        (b"PK\3\4nothing", "not a sound .xlsx"),
    ],
)
def test_what_spoils_the_whole_sheet_is_an_error(data, problem):
    """No header, NUL bytes, and a quote too few, which may have swallowed any number of rows."""
    assert problem in refusal(data)


def test_old_mac_lines_are_lines():
    """Carriage returns alone, with rows counted."""
    found = read(b'id,prompt\r1,cat\r2,"dog\rx"\r3,bird')
    assert [(record.line, record.values["prompt"]) for record in found] == [(2, "cat"), (3, "dog\rx"), (5, "bird")]


def test_jsonl_is_an_object_a_line():
    """Values as they are; blank lines are left out; each bad line is told."""
    lines = ['{"id": "1", "duration": 6}', "", "[1]", "nonsense", '{"a": NaN}', '{"a": 1e999}', "7", '{"a": [1.5]}']
    lines += ['{"a": ' + "1" * 5000 + "}", '{"a": ' + "[" * 5000 + "]" * 5000 + "}", '{"n": 12345678901234567890}']
    found = read("\n".join(lines).encode())
    assert [record for record in found if isinstance(record, SheetRecord)] == [
        SheetRecord(1, {"id": "1", "duration": 6}),
        SheetRecord(8, {"a": [1.5]}),
        SheetRecord(11, {"n": 12345678901234567890}),
    ]
    assert [line for line, _ in problems(found)] == [3, 4, 5, 6, 7, 9, 10]


@pytest.mark.parametrize(
    "data",
    [b'[\n {"prompt": "cat"},\n', b'\n{\n "prompt": "cat"\n}', b'{"id": "a",\n "prompt": "cat"}', b'[{"id": "a"},\n'],
)
def test_json_over_several_lines_is_told_once(data, tmp_path):
    """Not a fault for each of its lines."""
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(InvalidRequestError, match="write one object a line"), open_sheet(path) as sheet:
        list(sheet)
    later = read(b'{"prompt": "cat"}\n' + data.lstrip())
    assert "write one object a line" in problems(later)[0][1]


@pytest.mark.parametrize(
    "line",
    [
        '{"prompt": "a cat", "prompt": "a dog"}',
        '{"prompt": "a \\"cat\\"", "duration": 6, "prompt": "a dog"}',
        '{"prompt": "a cat", "metadata": {"shot": 1, "shot": 2}}',
        '{"prompt": "a cat", "image_urls": [{"a": 1, "a": 1}]}',
    ],
)
def test_a_key_that_stands_twice_is_a_fault(line):
    """Nobody knows which of both was meant, and the video is paid."""
    assert "stands there twice" in problems(read(line.encode()))[0][1]


def test_quotation_marks_in_texts_are_no_keys():
    """Escaped ones, and colons."""
    line = json.dumps({"prompt": 'he says "a": "b"', "metadata": {"a": ['"', "\\"]}})
    assert read(line.encode()) == [SheetRecord(1, json.loads(line))]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.text(max_size=3), JSON, max_size=3).map(json.dumps) | JSON.map(json.dumps) | st.text(max_size=20)
)
def test_with_and_without_orjson_it_is_the_same(text):
    """Speed is an extra, results are not."""
    fast = strictjson.read_object(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strictjson, "_fast_loads", json.loads)
        slow = strictjson.read_object(text)
    assert repr(fast) == repr(slow)


@settings(max_examples=300)
@given(
    st.binary(max_size=60)
    | st.tuples(st.sampled_from([b"prompt,id\n", b"{", b"PK", b"\xff\xfe", b"\xef\xbb\xbf"]), st.binary()).map(
        b"".join
    ),
    st.sampled_from([None, "utf-8", "gb18030", "utf-16", "utf-32", "latin-1", "shift_jis", "utf-7", "cp037"]),
)
def test_bytes_of_any_kind_raise_nothing_of_others(data, encoding):
    """Whatever a file holds, what comes out is a record, a bad record, or an error of ours."""
    try:
        found = read(data, encoding=encoding)
    except OmniError:
        return
    assert all(isinstance(record, SheetRecord | BadRecord) for record in found)


def test_a_file_goes_by_its_ending(tmp_path):
    """And one without a sheet's ending, or that cannot be opened, is refused with the reason."""
    (tmp_path / "a.JSONL").write_bytes(b'{"prompt": "cat"}')
    (tmp_path / "a.tsv").write_bytes(b"prompt\tid\ncat\t1")
    for name in ("a.JSONL", "a.tsv"):
        with open_sheet(tmp_path / name) as sheet:
            assert [record.values["prompt"] for record in sheet] == ["cat"]
    for name, reason in (("a.docx", "not a sheet's"), ("b.csv", "No such file")):
        with pytest.raises(InvalidRequestError, match=reason):
            open_sheet(str(tmp_path / name))
    (tmp_path / "c.csv").mkdir()
    with pytest.raises(InvalidRequestError, match=r"cannot be opened|directory"):
        list(open_sheet(tmp_path / "c.csv"))


class Pipe(io.RawIOBase):
    """A stream that cannot seek, gives a byte at first, and may break."""

    def __init__(self, data, error=None):
        self.data, self.error = data, error

    def readable(self):
        return True

    def read(self, size=-1):
        size = 1 if self.data[:1] in (b"{", b"P", b"\xef") else min(size, 7) if size > 0 else 7
        found, self.data = self.data[:size], self.data[size:]
        if not found and self.error:
            raise self.error
        return found


def test_a_pipe_is_read_as_it_comes(workbook):
    """It need not seek, may begin with a single byte, and stays open."""
    pipe = Pipe(b'\xef\xbb\xbf{"prompt": "cat"}\n')
    assert next(iter(open_sheet(pipe))).values == {"prompt": "cat"}
    assert not pipe.closed
    assert next(iter(open_sheet(Pipe(workbook([["prompt"], ["cat"]]))))).values == {"prompt": "cat"}


def test_a_disk_that_fails_while_reading_is_told():
    """The reason comes with an error of ours."""
    with pytest.raises(InvalidRequestError, match="Input/output error"):
        list(open_sheet(Pipe(b"prompt\ncat\n", OSError(5, "Input/output error"))))


def test_memory_does_not_grow_with_the_rows():
    """Fifty thousand rows take no more than a thousand."""

    class Endless(io.RawIOBase):
        left = 50_000

        def readable(self):
            return True

        def read(self, size=-1):
            self.left -= 1
            return b'{"prompt": "%s"}\n' % (b"x" * 100) if self.left >= 0 else b""

    tracemalloc.start()
    try:
        assert sum(1 for _ in open_sheet(Endless())) == 50_000
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_line_without_end_is_refused(monkeypatch):
    """It must not fill the memory."""
    monkeypatch.setattr("omni_async.batch.decoding.LONGEST_LINE", 1000)
    assert "line 1: is longer" in refusal(b'{"prompt": "' + b"x" * 2000)
    assert "line 1: is longer" in refusal(("prompt" * 1000).encode("utf-16"))


@pytest.fixture
def workbook():
    """Makes an .xlsx of rows."""

    def make(rows):
        book, data = openpyxl.Workbook(), io.BytesIO()
        for row in rows:
            book.active.append(row)
        book.create_sheet("second").append(["prompt"])
        book.save(data)
        return data.getvalue()

    return make


def test_a_workbook_gives_its_first_sheet(workbook, tmp_path):
    """Whole numbers are whole, texts stay texts, dates are ISO, lines are the sheet's rows."""
    rows = [[], ["ID", "prompt", "duration", "shot on", "at", "share", "done"], ["007", "cat", 6.0, date(2026, 5, 4)]]
    rows += [[], [7, 2077, "6", datetime(2026, 5, 4, 10, 30), time(16, 9), 0.5, True], [None, "  "]]
    (tmp_path / "a.xlsx").write_bytes(workbook(rows))
    with open_sheet(tmp_path / "a.xlsx") as sheet:
        first, second = sheet
    assert first.line == 3
    assert first.values | {"at": 1} == {
        "ID": "007",
        "prompt": "cat",
        "duration": 6,
        "shot on": "2026-05-04",
        "at": 1,
        "share": None,
        "done": None,
    }
    assert second.line == 5
    assert list(second.values.values()) == [7, 2077, "6", "2026-05-04T10:30:00", "16:09:00", 0.5, True]


def test_a_formula_without_a_result_is_a_fault(workbook):
    """As are error values and cells under no name; the other rows are read."""
    rows = [["prompt", "duration"], ["cat", "=3*2"], ["dog", 6], ["#REF!", 6], ["bird", 6, "x"]]
    found = read(workbook(rows))
    assert [record.line for record in found if isinstance(record, SheetRecord)] == [3]
    assert [fault.field for bad in found if isinstance(bad, BadRecord) for fault in bad.faults] == [
        "duration",
        "prompt",
        "line",
    ]
    assert found[0].rest == SheetRecord(2, {"prompt": "cat", "duration": None}, cells=True)


def test_a_hidden_sheet_is_not_read():
    """What is paid for is the first sheet that is to be seen."""
    book, data = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["prompt"])
    book.active.append(["an old draft"])
    book.active.sheet_state = "hidden"
    shown = book.create_sheet("shots")
    shown.append(["prompt"])
    shown.append(["a cat"])
    book.active = 1
    book.save(data)
    assert [record.values["prompt"] for record in read(data.getvalue())] == ["a cat"]


def test_a_hidden_row_is_a_fault():
    """A filter hides what its user does not want made: nothing unseen is paid for. Hidden columns are no matter."""
    book, data = openpyxl.Workbook(), io.BytesIO()
    for row in (["id", "prompt"], ["a", "a cat"], ["b", "a dog"], [None, None], ["c", "a fox"]):
        book.active.append(row)
    for number in (1, 3, 4):
        book.active.row_dimensions[number].hidden = True
    book.active.column_dimensions["A"].hidden = True
    book.save(data)
    shown, hidden, last = read(data.getvalue())
    assert (shown.values["id"], last.values["id"]) == ("a", "c")
    assert hidden.line == 3
    assert str(hidden.faults[0]).startswith("line: is hidden in the sheet, by a filter or by hand")
    assert hidden.rest.values["id"] == "b"


def test_hidden_rows_of_a_long_sheet_are_found():
    """However the sheet is cut for reading."""
    book, data = openpyxl.Workbook(), io.BytesIO()
    book.active.append(["prompt"])
    for number in range(2, 9002):
        book.active.append([f"a cat in frame {number} " * 4])
        book.active.row_dimensions[number].hidden = number % 3 == 0
    book.save(data)
    unseen = {bad.line for bad in read(data.getvalue()) if isinstance(bad, BadRecord)}
    assert unseen == set(range(3, 9002, 3))


def test_an_empty_workbook_is_refused(workbook):
    """As is one without a prompt."""
    assert "first sheet is empty" in refusal(workbook([]))
    assert "prompt: no such column" in refusal(workbook([["a"], ["b"]]))


def test_without_openpyxl_it_is_said_what_to_install(monkeypatch, workbook):
    """One clear error."""
    data = workbook([["prompt"]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert "omni-async[xlsx]" in refusal(data)
