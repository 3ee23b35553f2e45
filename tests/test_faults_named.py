"""Each row of the fault matrix is a test that bears its number."""

import re
from pathlib import Path

import pytest

ROWS = [*map(str, range(1, 65)), "1b", "19b", "28b", "36b", "63b", "63c", "63d"]
NAMED = re.compile(r"def test_rows?_([0-9a-z]+(?:_(?:and_)?[0-9]+[a-d]?)*)")
FOUND = {
    number
    for file in Path(__file__).parent.rglob("test_*.py")
    for name in NAMED.findall(file.read_text("utf-8"))
    for number in re.findall(r"[0-9]+[a-d]?", name)
}


@pytest.mark.parametrize("row", ROWS)
def test_the_row_has_a_test_of_its_name(row):
    """What must be survived is shown to be survived."""
    assert row in FOUND
