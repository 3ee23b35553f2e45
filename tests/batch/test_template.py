"""A sheet to fill in: every format is taken by a batch as it is, and tells what its columns may hold."""

import sys

import openpyxl
import pytest

from omni_async import GeminiOmni, InvalidRequestError, Jimmy, TargetExistsError, ToApis
from omni_async.batch import dry_plan
from omni_async.batch.columns import NAMES
from omni_async.batch.sheet import open_sheet
from omni_async.batch.template import SHEET_ENDINGS, columns_for, csv_template, write_template
from tests.foreign import Foreign

DIALECTS = [Jimmy(), GeminiOmni(), ToApis(), Foreign()]
OLDER = {"custom_id", "images"}
"""Second names of columns that are there."""


def by_name(dialect):
    """The columns for a gateway."""
    return {column.name: column for column in columns_for(dialect)}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("ending", SHEET_ENDINGS)
def test_it_is_taken_unchanged(dialect, ending, tmp_path):
    """Each format for each gateway is two good rows."""
    path = tmp_path / f"shots{ending}"
    write_template(path, columns_for(dialect))
    plan = dry_plan(path, gateway=dialect)
    assert (plan.to_pay, plan.bad) == (2, 0)


@pytest.mark.parametrize("ending", SHEET_ENDINGS)
def test_it_has_every_column(ending, tmp_path):
    """Whatever a row can have is in the header, each field under one name."""
    path = tmp_path / f"shots{ending}"
    write_template(path, columns_for(Jimmy()))
    with open_sheet(path) as sheet:
        first, second = sheet
    assert set(first.values) == set(second.values) == NAMES - OLDER


def test_values_that_would_do_are_told():
    """From the gateway's own table, with what each model makes where they differ."""
    told = by_name(Jimmy())
    assert told["model"].allowed == ("Gemini-Omini", "Omni-Flash-Ext", "gemini-omni", "omni-10s")
    assert told["duration"].allowed == (4, 6, 8, 10)
    assert "omni-10s always makes 10 s" in told["duration"].told
    assert told["mode"].told.endswith(": text-to-video, image-to-video, reference-to-video, video-edit")
    assert by_name(ToApis())["duration"].told == (
        "whole seconds (gemini_omni 6/10; gemini_omni_flash 4/6/10): 4, 6, 10"
    )


def test_a_gateway_without_a_table_allows_what_it_likes():
    """The columns are there, their values are anybody's."""
    told = by_name(Foreign())
    assert told["duration"].told == "whole seconds"
    assert told["model"].allowed == ()


def test_a_workbook_explains_itself(tmp_path):
    """Comments on the header, lists to choose from that allow other values, and texts that Excel leaves alone."""
    path = tmp_path / "shots.xlsx"
    write_template(path, columns_for(Jimmy()))
    sheet = openpyxl.load_workbook(path).active
    head = {cell.value: cell for cell in sheet[1]}
    assert "4, 6, 8, 10" in head["duration"].comment.text
    assert all(cell.comment for cell in head.values())
    lists = {str(rule.sqref): rule for rule in sheet.data_validations.dataValidation}
    rule = lists[f"{head['duration'].column_letter}2:{head['duration'].column_letter}10000"]
    assert (rule.formula1, rule.showErrorMessage) == ('"4,6,8,10"', False)
    assert sheet.cell(2, head["aspect_ratio"].column).number_format == "@"


def test_nothing_is_overwritten(tmp_path):
    """A sheet that is there stays as it is, and it is told."""
    path = tmp_path / "shots.csv"
    path.write_text("mine")
    with pytest.raises(TargetExistsError, match="left as it is") as caught:
        write_template(path, columns_for(Jimmy()))
    assert caught.value.may_have_charged is False
    assert path.read_text() == "mine"


def test_an_ending_that_is_no_sheets(tmp_path):
    """Told with those that are; nothing is written."""
    with pytest.raises(InvalidRequestError, match=r"allowed: \.csv, \.jsonl, \.xlsx"):
        write_template(tmp_path / "shots.ods", columns_for(Jimmy()))
    assert list(tmp_path.iterdir()) == []


def test_a_workbook_without_openpyxl(tmp_path, monkeypatch):
    """Told with what to install."""
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InvalidRequestError, match=r"omni-async\[xlsx\]"):
        write_template(tmp_path / "shots.xlsx", columns_for(Jimmy()))


def test_for_a_pipe_it_is_plain_lines():
    """Without a mark, and with the line ends of the system that reads it."""
    text = csv_template(columns_for(Jimmy()), line_end="\n")
    assert text.startswith("id,prompt,model,")
    assert (text.count("\n"), text.count("\r")) == (3, 0)
