"""Telling UTF-8 from GB18030 where bytes are valid as both."""

import pytest

from omni_async.batch.letters import suspicious_cell
from tests.batch.languages import DISGUISED, ORDINARY


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
@pytest.mark.parametrize("line", ["{}", "b1,{},x\r\n", 'b1;"{}";6', '{{"id": "b1", "prompt": "{}"}}'])
def test_no_living_language_is_suspicious(text, line):
    """A sentence as people write it is believed, bare, in CSV and in JSON."""
    assert suspicious_cell(line.format(text)) is None


@pytest.mark.parametrize("phrase", DISGUISED)
def test_chinese_in_disguise_is_found(phrase):
    """GB18030 bytes that are valid UTF-8 by chance give both readings."""
    text = phrase.encode("gb18030").decode("utf-8")
    assert suspicious_cell(f"b1,{text},a cat\n") == (text, phrase)
    assert suspicious_cell(f'{{"id": "cat-1", "prompt": "{text}"}}') == (text, phrase)
