"""What a batch is about to do and to pay, in every constellation."""

import json
import random

import pytest

from omni_async import Balance, InvalidRequestError
from omni_async.batch import Plan, Prices, entering
from omni_async.journal.anew import SheetLedger
from omni_async.journal.schema import open_journal
from omni_async.journal.staging import Changes
from omni_async.journal.states import State
from tests.batch.batches import cats, lab


def finish(path, *, left):
    """Every row of a batch is done, but the last `left` ones."""
    ledger = SheetLedger(open_journal(path))
    ledger.begin()
    query = (
        "UPDATE item SET state = 'DONE', attempts = 1, size = 4, task_id = 'task_' || key, sha256 = 'x'"
        " WHERE rowid <= (SELECT max(rowid) FROM item) - ?"
    )
    ledger.connection.execute(query, (left,))
    ledger.commit()
    ledger.connection.close()


async def test_a_sheet_sorted_edited_and_added_to(tmp_path):
    """The issue's sheet: the plan counts 3, 35, 150 and 12 right, and only what it says is paid for."""
    rows = cats(5000, duration=6)
    async with lab(tmp_path) as here:
        await here.plan(rows)
        finish(here.out / "journal.sqlite3", left=3)
        for row in rows[:-3]:
            (here.out / "videos" / f"{row['id']}.mp4").write_bytes(b"mp4!")
        for row in [*rows[-3:], *rows[100:135]]:
            row["prompt"] += ", edited"
        sheet = [*rows[:20], *rows[32:], *cats(150, 5000, duration=6)]
        random.Random(4).shuffle(sheet)
        plan = await here.plan(sheet)
        assert plan.sentence() == (
            "4,950 done · 150 new · 3 edited before sending: updated · "
            "35 edited after paying: kept (redo_edited=True pays again) · 12 no longer in the file: kept"
        )
        assert list(plan.lines()) == [
            plan.sentence(),
            "to pay: 153 videos",
            "  153 × text-to-video 6 s Gemini-Omini",
            "balance: 1,000,000",
        ]
        summary = await here.run(sheet)
        assert summary.ok
        assert here.charges == 153
        assert sum(prompt.endswith(", edited") for prompt in here.prompts) == 3
        assert here.asked("file") == 153
        assert len(here.statuses) == 5150
        again = await here.plan(sheet)
        assert again.sentence() == (
            "5,103 done · 35 edited after paying: kept (redo_edited=True pays again) · 12 no longer in the file: kept"
        )
        assert again.to_pay == 0


def plan(states, changes=None, kinds=None, **more):
    """A plan by its figures."""
    changes = Changes(**(changes or {}))
    return Plan(states=states, changes=changes, kinds=kinds or {}, **more)


@pytest.mark.parametrize(
    ("states", "changes", "more", "sentence"),
    [
        ({}, {}, {}, "nothing to do"),
        ({State.PLANNED: 1200}, {"new": 1200}, {}, "1,200 new"),
        ({State.PLANNED: 7}, {"new": 2, "same": 5}, {}, "2 new · 5 waiting to be sent"),
        (
            {State.PLANNED: 3},
            {"redone": 1, "retried": 2},
            {},
            "1 edited after paying: to be paid again · 2 to be tried again",
        ),
        ({State.SUBMITTED: 1, State.SUCCEEDED: 1, State.SUBMITTING: 1}, {"same": 3}, {}, "3 paid and under way"),
        (
            {State.FAILED: 1, State.EXPIRED: 1, State.CANCELED: 1, State.REJECTED: 4, State.UNCERTAIN: 2},
            {"same": 9},
            {},
            "3 failed (retry_failed=True pays again) · 4 rejected, not paid · 2 uncertain: settle them",
        ),
        (
            {State.DONE: 9, State.FAILED: 4, State.SUBMITTED: 2, State.SUCCEEDED: 1, State.UNCERTAIN: 1},
            {"same": 9, "kept": 8},
            {
                "edited": {State.DONE: 3, State.FAILED: 2, State.SUBMITTED: 1, State.SUCCEEDED: 1, State.UNCERTAIN: 1},
                "moderated": 1,
            },
            "6 done · 1 paid and under way · 6 edited after paying: kept (redo_edited=True pays again) · "
            "1 edited while under way: kept · 1 failed (retry_failed=True pays again) · 1 refused for their content · "
            "1 uncertain: settle them",
        ),
        ({}, {"missing": 12}, {"bad": 2}, "12 no longer in the file: kept · 2 with faults: left out"),
    ],
)  # fmt: skip
def test_the_sentence(states, changes, more, sentence):
    """One line, of what is there alone."""
    assert plan(states, changes, **more).sentence() == sentence


MISSPELT = {"1080": 0.9, "6s": 5, "flash 10 s": 1, "GEMINI-OMINI 1080P": 2, "video-edit": 1, "30 s": 9, "*": 0.5}


async def test_a_misspelt_price_is_told_with_the_words_that_would_do(tmp_path, caplog):
    """It fits nothing, and a bound of the cost would rely on it in vain: the plan warns, and so does the log."""
    told = (
        "prices: no video of jimmy is of the kind '1080' or '6s' or 'flash 10 s' or '30 s'; allowed: text-to-video, "
        "image-to-video, reference-to-video, video-edit, 4 s, 6 s, 8 s, 10 s, 720p, 1080p, 4k, Gemini-Omini, omni-10s"
    )
    async with lab(tmp_path) as here:
        plan = await here.plan(cats(1), prices=MISSPELT)
        assert [str(fault) for fault in plan.warnings] == plan.document()["warnings"] == [told]
        assert f"warning: {told}" in plan.lines()
        assert caplog.messages == [told]
        edited = await here.plan(cats(1, duration=30), prices={"30 s": 1, "omni-10s": 2}, strict=False)
        assert ([fault.field for fault in edited.warnings], edited.cost) == (["line 1: duration"], 1)


@pytest.mark.parametrize(
    ("duration", "options", "problem"),
    [
        (5, {}, "the documents disagree on 5: an example sends it, the table omits it; allowed: 6, 10"),
        (99, {"strict": False}, "99 is not possible with gemini_omni; allowed: 6, 10"),
    ],
)
async def test_what_submit_warns_of_is_warned_of_before_a_batch_pays(tmp_path, caplog, duration, options, problem):
    """Once for all rows that it concerns, in the plan and in the log."""
    told = f"lines 2, 3, 4 and 2 more: duration: {problem}"
    async with lab(tmp_path, "gemini_omni") as here:
        rows = [*cats(1, duration=6), *cats(5, first=1, duration=duration)]
        plan = await here.plan(rows, **options)
        assert [str(fault) for fault in plan.warnings] == [told]
        assert caplog.messages == [told]
        assert here.charges == 0


async def test_different_warnings_are_told_up_to_a_number(tmp_path, monkeypatch):
    """A sheet with a million of them must not fill the memory, nor the screen."""
    monkeypatch.setattr(entering, "DOUBTS", 2)
    async with lab(tmp_path) as here:
        rows = [{"prompt": "a cat", "duration": duration} for duration in (7, 9, 11, 9, 13)]
        plan = await here.plan(rows, strict=False)
        assert [fault.field for fault in plan.warnings] == ["line 1: duration", "lines 2, 4: duration", "file"]
        assert str(plan.warnings[-1]) == "file: and 2 warnings of other kinds"


def test_the_lines_tell_costs():
    """Kinds by their number, prices, the sum and where it stops."""
    prices = Prices({"1080p": 0.9, "720p 10 s": 0.7, "*": 0.5}, "USD")
    kinds = {"text-to-video 10 s 720p m": 2, "text-to-video 1080p m": 3}
    told = plan(
        {State.PLANNED: 5}, {"new": 5}, kinds, prices=prices, max_cost=2, limit=4, balance=Balance(available=12.5)
    )
    assert list(told.lines()) == [
        "5 new",
        "to pay: 4 of 5 videos (limit=4)",
        "  3 × text-to-video 1080p m at 0.9 USD",
        "  2 × text-to-video 10 s 720p m at 0.7 USD",
        "cost: 4.10 USD, stopping at 2",
        "balance: 12.50",
    ]  # fmt: skip
    document = told.document()
    assert json.loads(json.dumps(document)) == document
    assert (document["rows"], document["to_pay"], document["cost"], document["new"]) == (5, 4, pytest.approx(4.1), 5)


def test_without_a_price_for_everything_there_is_no_sum():
    """A sum that leaves something out would be believed."""
    assert plan({State.PLANNED: 1}, {"new": 1}, {"a": 1}).cost is None
    assert plan({State.PLANNED: 1}, {"new": 1}, {"a": 1}, prices=Prices({"b": 1})).cost is None
    assert plan({State.PLANNED: 1}, {"new": 1}, {"A b": 2}, prices=Prices({"a": 1})).cost == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", '{"1080p": 0.9, "*": 0.5, "currency": "USD"}'),
        ("p.json", '{"currency": "USD", "prices": {"1080p": 0.9, "*": 0.5}}'),
        ("p.csv", "kind,price\n1080p,0.9\n*,0.5\n"),
    ],
)
def test_prices_from_a_file(tmp_path, name, text):
    """As JSON or CSV; of the entries that fit, the one with most words counts."""
    path = tmp_path / name
    path.write_text(text, "utf-8-sig")
    prices = Prices.load(path)
    assert prices.of("text-to-video 1080P m") == 0.9
    assert prices.of("other") == 0.5
    assert prices.currency in ("USD", "")


@pytest.mark.parametrize(
    ("raw", "currency"),
    [
        (b"kind;price\n1080p;0,9\n*;0,50\n", ""),
        ("kind\tprice\r\n1080p\t0.9\r\n*\t0.5\r\n".encode("utf-16"), ""),
        ("\ufeff Kind ,PRICE,note\n1080p,￥0.9,\n\n*,0.5 ￥,all others\n,,\n".encode(), "￥"),
        ("sep=;\nkind;price\n1080p;€0,9\n*;€ 0,5\n".encode(), "€"),
        (b'kind,price\n1080p,"0,9"\n*,.5\n', ""),
        ("kind,price\n1080p,￥0.9\n*,0.5\n".encode("gb18030"), "￥"),
    ],
)
def test_prices_as_spreadsheet_programs_save_them(tmp_path, raw, currency):
    """Any delimiter, any case, a currency sign, and a decimal comma where it can be nothing else."""
    path = tmp_path / "prices.csv"
    path.write_bytes(raw)
    assert Prices.load(path) == Prices({"1080p": 0.9, "*": 0.5}, currency)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind,price\n1080p,0.9\n*,free\n", "line 3: 'free' for '*' is not a price"),
        ("sep=;\nkind;price\n*;1,000\n", "line 3: '1,000' for '*' is not a price"),
        ("kind,price\n1080p\n", "line 2: '' for '1080p' is not a price"),
        ("kind,price\n*,1_0e\n", "line 2: '1_0e' for '*' is not a price"),
        ("kind,cost\n*,1\n", "a table needs the columns kind and price; found: kind, cost"),
        ("kind,price\n1080p,￥0.9\n*,$0.5\n", "prices in several currencies: $ ￥"),
        ('{"*": 0.5,\nx}', "line 2: no JSON"),
        ("kind,price\n1080p 10 s,0.9\n*,1\n10 S 1080p,9\n", "lines 2 and 4 both have a price for '10 S 1080p'"),
        ("sep=;\nkind;price\n*;1\n*;1\n", "lines 3 and 4 both have a price for '*'"),
        ('{"*": 1, "*": 2}', "'*' stands there twice"),
        ('{"prices": {"720p": 1, "720P": 2}}', "'720p' and '720P' are one kind"),
        ("", "a table needs the columns kind and price; found: none"),
    ],
)
def test_a_price_that_cannot_be_read_is_shown(tmp_path, text, told):
    """With its line and what stands there."""
    path = tmp_path / "prices.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(InvalidRequestError) as caught:
        Prices.load(path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("kind,price\n1080p,0.9\n*,0.5 ¤ für\n".encode("cp1252"), "line 3: "),
        ("kind,price\n動画,0.9\n".encode("shift-jis"), "line 2: "),
        ("kind,price\n*,1\n".encode("utf-16-le"), "line 1: it holds NUL bytes: UTF-16 without its mark?"),
        ("kind,price,note\n*,1,图片\n".encode("gb18030"), "line 2: reads "),
    ],
)
def test_prices_in_an_encoding_that_cannot_be_told_are_to_be_saved_as_utf_8(tmp_path, raw, told):
    """No option names the encoding of prices, so none is advised."""
    path = tmp_path / "prices.csv"
    path.write_bytes(raw)
    with pytest.raises(InvalidRequestError) as caught:
        Prices.load(path)
    assert told in str(caught.value)
    assert str(caught.value).endswith(" save it as UTF-8")
    assert "encoding=" not in str(caught.value)


@pytest.mark.parametrize("name", ["prices.xlsx", "PRICES.XLS", "prices.ods"])
def test_a_workbook_of_prices_is_refused_by_its_name(tmp_path, name):
    """Nobody has to guess from what its bytes look like as text."""
    path = tmp_path / name
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(InvalidRequestError, match="a workbook is not taken for prices; save it as CSV"):
        Prices.load(path)


def test_what_only_some_kinds_cost_is_told_as_the_least():
    """With the kinds that have no price; in a program's data there is no sum."""
    kinds = {"text-to-video 1080p m": 1, "text-to-video 4 s m": 2, "video-edit 4 s m": 1}
    told = plan({State.PLANNED: 4}, {"new": 4}, kinds, prices=Prices({"1080p": 0.9}, "USD"))
    assert [*told.lines()][-1] == (
        "cost: at least 0.90 USD (2 kinds have no price: text-to-video 4 s m, video-edit 4 s m)"
    )
    assert told.document()["cost"] is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "7", '{"a": "x"}', '{"a": NaN}', '{"a": -1}', '{"a": true}', '{"a": 1e400}']
)
def test_prices_that_are_none(tmp_path, text):
    """Told as such, never taken for nought."""
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(InvalidRequestError, match="prices"):
        Prices.load(path)
    with pytest.raises(InvalidRequestError, match="prices"):
        Prices.load(tmp_path / "missing.json")
    (tmp_path / "p.csv").write_text("kind,price\na,inf\n")
    with pytest.raises(InvalidRequestError, match="prices"):
        Prices.load(tmp_path / "p.csv")
