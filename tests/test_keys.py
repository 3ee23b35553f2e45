"""The key taken out of what comes back, however it is spelt there."""

import html
import json
from urllib.parse import quote

import pytest

from omni_async.keys import Mask

KEY = "QUtJ/NB+WTE&y<z>'s\"\\Nc_4.OTA=="


def escaped(form, letters=KEY):
    """The key with each of some letters as its number in a form."""
    return "".join(form.format(ord(letter)) if letter in letters else letter for letter in KEY)


JSON = json.dumps(KEY)[1:-1]
SPELLINGS = {
    "plain": KEY,
    "json": JSON,
    "json with slashes": JSON.replace("/", "\\/"),
    "json in json": json.dumps(JSON)[1:-1],
    "signs alone": JSON.replace("=", "\\u003d").replace("&", "\\u0026").replace("<", "\\u003c"),
    "signs alone, in json": json.dumps(JSON.replace("=", "\\u003d"))[1:-1],
    "every letter": escaped("\\u{:04x}"),
    "every letter, in capitals": escaped("\\u{:04X}"),
    "as a program's text": escaped("\\x{:02x}", "=&<>"),
    "in a path": quote(KEY),
    "in a query": quote(KEY, safe=""),
    "in a query, in small letters": escaped("%{:02x}", "/+&<>'\"\\="),
    "in a query in a query": quote(quote(KEY, safe=""), safe=""),
    "html": html.escape(KEY),
    "html in html": html.escape(html.escape(KEY)),
    "html in numbers": escaped("&#{};"),
    "html in hexadecimal numbers": escaped("&#x{:X};"),
    "html in numbers with noughts": escaped("&#0{}", "="),
    "html by name": KEY.replace("=", "&equals;").replace("+", "&plus;").replace("&y", "&AMP;y"),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_a_key_is_masked_however_it_is_spelt(spelling):
    """Whole, in bytes and in text, twice too, and nothing beside it."""
    mask = Mask(KEY)
    for said in (f"the key {spelling} is {spelling}.", f'{{"msg": "{spelling}成功"}}'):
        masked = said.replace(spelling, "***")
        assert mask.text(said) == masked
        assert mask.body(said.encode()) == masked.encode()


@pytest.mark.parametrize("said", ["100 % of \\u6210 & more", "QUtJ/NB", KEY[:-1], KEY.swapcase(), ""])
def test_what_is_not_the_key_is_left_as_it_is(said):
    """Escapes of anything else, parts of the key, another key."""
    mask = Mask(KEY)
    assert mask.text(said) == said
    assert mask.body(said.encode()) == said.encode()


def test_a_key_of_five_letters_is_no_secret():
    """It stands in any answer by chance, and would be cut out of ids and links."""
    assert Mask("abcde").body(b"abcde%abcde") == b"abcde%abcde"
    assert repr(Mask(KEY)) == "<Mask>"
