"""`batch --template`: a sheet to fill in."""

import shlex
import sys
from pathlib import Path

from ..batch.template import columns_for, csv_template, write_template
from ..settings import dialect_of
from .exits import UsageError
from .output import as_json, note, out, until_left
from .screen import Show


def template(file: str | None, gateway: str, show: Show) -> None:
    """Write a sheet with two example rows, and tell what its columns may hold.

    Args:
        file: Where; its ending says the format. None or `-` takes stdout, as CSV.
        gateway: Whose values are told.
        show: Who reads it.

    Raises:
        OmniError: It cannot be written, above all not over a file that is there.
    """
    columns = columns_for(dialect_of(gateway))
    if file in (None, "-"):
        if show.json:
            raise UsageError("--template writes the sheet to stdout, where --json would go, too: name a file for it")
        with until_left(sys.stdout):
            sys.stdout.write(csv_template(columns, line_end="\n"))
    else:
        write_template(Path(str(file)), columns)
        told = {column.name: {"meaning": column.meaning, "allowed": list(column.allowed)} for column in columns}
        out(as_json({"file": str(file), "columns": told}) if show.json else str(file))
    if not show.quiet:
        width = max(len(column.name) for column in columns)
        for column in columns:
            note(f"  {column.name:<{width}}  {column.told}")
        sheet = shlex.quote(str(file)) if file not in (None, "-") else "FILE"
        note("columns of your own are carried into the results; put your rows in place of the two examples, then:")
        note(f"  omni-async batch {sheet} --gateway {gateway} --dry-run")
