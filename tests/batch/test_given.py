"""Rows that a program gives, with values as pandas and numpy have them."""

import datetime
import decimal
import json

import pytest

from omni_async import InvalidRequestError, VideoRequest
from omni_async.batch.given import check_source, is_missing, records_of
from tests.batch.batches import cats, lab

NAN = float("nan")


class Int64:
    """A whole number that is no `int`, as numpy's are."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


class NAType:
    """As pandas' NA: whether it equals anything is NA, which is neither true nor false."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


class Array:
    """As numpy's arrays: compared element by element."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise ValueError("The truth value of an array is ambiguous")


class Frame:
    """As pandas' DataFrames: iterated, it gives the names of its columns."""

    columns = ("prompt",)

    def __iter__(self):
        return iter(self.columns)

    def __bool__(self):
        raise ValueError("The truth value of a DataFrame is ambiguous")

    def to_dict(self, orient):
        """Its rows."""


def test_what_is_missing():
    """What an empty cell holds: NaN of any kind, and NA; nothing else, whatever it says of being equal."""
    assert all(map(is_missing, [NAN, decimal.Decimal("nan"), NAType()]))
    others = [None, 0.0, float("inf"), "", False, Array(), decimal.Decimal("snan"), object(), datetime.datetime.now()]
    assert not any(map(is_missing, others))


def test_values_as_python_has_them():
    """Missing is None; a whole number is an int, and so are whole seconds; every other value is as it was."""
    row = {"prompt": "a", "duration": 4.0, "take": Int64(3), "share": 4.0, "file": NAN, "model": NAType(), 5: True}
    (record,) = records_of([row])
    told = {"prompt": "a", "duration": 4, "take": 3, "share": 4.0, "file": None, "model": None, "5": True}
    assert repr(record.values) == repr(told)
    assert next(records_of([{"duration": 4.5}])).values == {"duration": 4.5}
    assert next(records_of([{"Duration": Int64(4)}])).values == {"Duration": 4}


async def test_rows_with_empty_cells_are_rows_without_them(tmp_path):
    """NaN in a field or a column of one's own is not set; it costs nothing and is carried nowhere."""
    row = {"id": "a", "prompt": "cat", "duration": 6.0, "aspect_ratio": NAN, "image_urls": NAN, "scene": NAN, "shot": 2}
    async with lab(tmp_path) as here:
        assert (await here.run([row])).ok
        assert repr(json.loads(here.rows["a"]["inputs"])) == repr({"prompt": "cat", "duration": 6})
        (line,) = (here.out / "results.jsonl").read_text("utf-8").splitlines()
        assert json.loads(line)["shot"] == 2
        assert "scene" not in json.loads(line)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (datetime.datetime(2026, 1, 1), "a datetime"),
        (decimal.Decimal("1.5"), "a Decimal"),
        (Array(), "an Array"),
        ([{"at": NAN}], "a list"),
        (float("inf"), "inf"),
    ],
)
async def test_what_json_has_no_form_for_is_refused_by_line_and_column(value, told, tmp_path):
    """With every other fault, and before anything is sent."""
    async with lab(tmp_path) as here:
        with pytest.raises(InvalidRequestError) as caught:
            await here.run(
                [*cats(1), {"id": "b", "prompt": "cat", "when": value, "duration": 7, "metadata": {"t": NAN}}]
            )
        faults = [str(fault).partition(";")[0] for fault in caught.value.faults]
        assert faults == [
            "line 2: metadata: a dict cannot be written as JSON",
            f"line 2: when: {told} cannot be written as JSON",
            "line 2: duration: 7 is not possible with Gemini-Omini",
        ]
        assert here.charges == 0


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (Frame(), 'source: a Frame is not taken itself: give its rows, as df.to_dict("records") does'),
        ({"prompt": "a"}, "source: a dict is one row: give a list of rows"),
        (VideoRequest(prompt="a"), "source: a VideoRequest is one row: give a list of rows"),
        (7, "source: 7 is neither a file nor an iterable of requests or mappings"),
    ],
)
async def test_what_is_no_rows_is_refused_with_the_next_step(source, told, tmp_path):
    """By its type, before anything is made of it."""
    async with lab(tmp_path) as here:
        with pytest.raises(InvalidRequestError) as caught:
            await here.run(source)
        assert str(caught.value.faults[0]) == told
    for good in (None, "a.csv", tmp_path / "a.csv", [], iter(())):
        check_source(good)


@pytest.mark.parametrize("answer", ["n", "", 1, 0, None, "yes"])
async def test_only_true_pays_and_only_false_ends_it(answer, tmp_path):
    """What somebody typed is a text, and any text but the empty one is as good as true."""
    async with lab(tmp_path) as here:
        with pytest.raises(
            InvalidRequestError, match=f"confirm: {answer!r} is neither True nor False; nothing was sent"
        ):
            await here.run(cats(2), confirm=lambda _plan: answer)

        async def later(_plan):
            return answer

        with pytest.raises(InvalidRequestError, match="is neither True nor False"):
            await here.run(cats(2), confirm=later)
        assert here.charges == 0
        assert (await here.run(cats(2), confirm=lambda _plan: False)).unsent == 2
        assert (await here.run(cats(2), confirm=lambda _plan: True)).ok
