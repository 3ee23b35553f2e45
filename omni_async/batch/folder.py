"""A batch's folder: what lies where in it."""

import os
from pathlib import Path

import attrs

from ..disk import reason
from ..errors import Fault, invalid_argument
from ..journal.schema import JOURNAL_FILE
from ..report.writing import NAME, VIDEOS


@attrs.frozen
class Folder:
    """Where a batch keeps what it makes.

    Args:
        path: The folder.
    """

    path: Path

    @property
    def journal(self) -> Path:
        """The truth."""
        return self.path / JOURNAL_FILE

    @property
    def lines(self) -> Path:
        """A line per settled row, for programs."""
        return self.path / "results.jsonl"

    @property
    def table(self) -> Path:
        """The same as a table, for spreadsheets."""
        return self.path / "results.csv"

    @property
    def report(self) -> Path:
        """The same as a page with the videos to play, for people."""
        return self.path / NAME

    @property
    def videos(self) -> Path:
        """The videos."""
        return self.path / VIDEOS

    def make(self) -> None:
        """Make the folder.

        Raises:
            InvalidRequestError: It cannot be made; nothing was sent.
        """
        try:
            self.videos.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = reason(error)
        else:
            return
        raise invalid_argument(Fault("out", f"the folder {str(self.path)!r} cannot be made: {why}"))


def folder_of(source: object, out: str | os.PathLike[str] | None) -> Folder:
    """The folder of a batch: as given, else the sheet's name without its ending.

    Raises:
        InvalidRequestError: Rows that come from no file need a folder named.
    """
    if out is not None:
        return Folder(Path(out))
    if isinstance(source, str | os.PathLike) and os.fspath(source) != "-":
        path = Path(source)
        return Folder(path.with_suffix("") if path.suffix else path.with_name(f"{path.name}.out"))
    raise invalid_argument(Fault("out", "rows that come from no file need a folder for what is made of them"))
