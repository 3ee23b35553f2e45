"""`upload` and `balance`."""

from pathlib import Path

import pytest

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


def test_upload_gives_urls_in_the_order_of_the_files(omni, gateway):
    """A URL a line, and nothing else on stdout."""
    Path("a.png").write_bytes(PNG)
    Path("b.png").write_bytes(PNG + b"b")
    ran = omni("upload", "a.png", "b.png", "--base-url", gateway().url)
    assert ran.code == 0
    assert len(ran.out.splitlines()) == 2
    assert all(line.startswith("http") for line in ran.out.splitlines())
    assert "a.png: done" in ran.err


def test_upload_as_json(omni):
    """One file gives an object, several a list."""
    Path("a.png").write_bytes(PNG)
    assert omni("upload", "a.png", "--emulator", "--json").json["url"].startswith("http")
    ran = omni("upload", "a.png", "a.png", "--emulator", "--json")
    assert [document["file"] for document in ran.json] == ["a.png", "a.png"]


def test_nothing_is_uploaded_if_one_file_cannot_be(omni, gateway):
    """All are looked at first, and each that cannot go up is named."""
    running = gateway()
    Path("a.png").write_bytes(PNG)
    Path("bad.csv").write_text("x")
    ran = omni("upload", "bad.csv", "a.png", "none.png", "--base-url", running.url)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: nothing was sent:\n  FILE: bad.csv has an ending this gateway does not take")
    assert "  FILE: none.png cannot be read" in ran.err
    ran = omni("upload", "bad.csv", "a.png", "--base-url", running.url, "--json")
    assert "bad.csv" in ran.json["error"]["faults"][0]
    assert running.emulator.ledger.requests["upload"] == 0


@pytest.mark.parametrize(
    ("words", "out", "err"),
    [
        ([], "7\n", "used 0, of 7\n"),
        (["--scope", "key"], "7\n", "used 0, of 7\n"),
        (["-g", "toapis"], "7\n", "used 0\n"),
    ],
)
def test_balance(omni, scenario, words, out, err):
    """Stdout is the number that can be spent."""
    ran = omni("balance", "--emulator", "--scenario", scenario(balance=7), *words)
    assert (ran.code, ran.out, ran.err) == (0, out, err)


def test_balance_without_cap(omni):
    """No cap is a word, not a number."""
    assert omni("balance", "--emulator", "--scope", "key").out == "unlimited\n"


def test_balance_as_json(omni, scenario):
    """One object, in the library's words."""
    document = omni("balance", "--emulator", "--scenario", scenario(balance=7.5), "--json").json
    assert document == {
        "gateway": "jimmy", "name": None, "available": 7.5, "used": 0.0, "total": 7.5, "unlimited": False
    }  # fmt: skip


def test_an_unknown_scope(omni):
    """What cannot be asked for is refused with what can."""
    ran = omni("balance", "--emulator", "--scope", "mine")
    assert ran.code == 2
    assert "  --scope: 'mine' is not known; allowed: account, key\n" in ran.err


def test_a_fractional_and_an_unknown_amount():
    """Amounts are shown as they are."""
    from omni_async.cli.account import _amount

    assert (_amount(7.25), _amount(7.0), _amount(None)) == ("7.25", "7", "unknown")
