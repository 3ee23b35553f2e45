"""`report`: a journal as one page for a browser."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from ..journal.shown import paid_kinds, shown_ledger
from ..report import NAME, write_report
from .exits import UsageError
from .ledgers import found, reading
from .options import Json
from .output import as_json, note, out

DOCTYPE = b"<!doctype html>"

Place = Annotated[
    Path, typer.Argument(metavar="DIR_OR_FILE", help="The batch's folder, or the journal's file or folder.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The page to write; [b]report.html[/b] in DIR unless given."),
]
Open = Annotated[bool, typer.Option("--open", help="Show it in the browser.")]


def report(place: Place, output: Output = None, open_: Open = False, json: Json = False) -> None:
    """Write a batch as one page: its videos to play, filter and search.

    Videos, prompts, times and your own columns; why rows failed; what may
    have been paid first, with the commands that settle it; plots. It works
    without a network, while a batch runs too, and changes nothing else.

    A batch keeps its own report.html up to date. The page links to the
    videos where they are: move it together with its folder.

    Examples:

      omni-async report shots
      omni-async report shots --open
      omni-async report shots -o ~/shots.html
    """
    path = found(place)
    page = write_report(path, _file(path, output))
    if json:
        with reading(path) as ledger:
            counts = shown_ledger(ledger, path).counts()
            paid = sum(paid_kinds(ledger, path).values())
        states = {state.lower(): count for state, count in counts.items()}
        out(as_json({"report": str(page), "rows": sum(counts.values()), "states": states, "paid": paid}))
    else:
        out(str(page))
    if open_ and not webbrowser.open(page.resolve().as_uri()):
        note("there is no browser to show it in: open the file yourself")


def _file(journal: Path, output: Path | None) -> Path:
    """Where the page goes. It never takes the place of the journal."""
    page = output if output is not None else journal.with_name(NAME)
    page = page / NAME if page.is_dir() else page
    if page.exists() and page.samefile(journal):
        raise UsageError(f"{page} is the journal: name another file for the page")
    if page.is_file() and not _is_page(page):
        raise UsageError(f"{page} is there already and is not a report: name another file for the page")
    if not page.parent.is_dir():
        raise UsageError(f"{page.parent}: there is no such folder")
    return page


def _is_page(file: Path) -> bool:
    """Whether nothing is lost by writing a page in its place: it is one, or empty."""
    with file.open("rb") as opened:
        return opened.read(len(DOCTYPE)).lower() in (b"", DOCTYPE)
