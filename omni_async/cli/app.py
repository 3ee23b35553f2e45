"""The program: its commands put together, its usage errors in one line."""

import logging
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from ..disk import reason
from ..version import __version__
from . import account, batch, demo, emulate, fleet, generate, journal, report, settling, sweep, tasks
from .exits import DONE, FAILED, USAGE, code_of, lines_of
from .output import note, out, speak_utf8, unwritten
from .screen import LIBRARY_LOG

NAME = "omni-async"
_SILENT = logging.NullHandler()
"""Without it Python writes the library's warnings into what is being drawn."""

app = typer.Typer(
    name=NAME,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # its tracebacks show locals, and those hold prompts
    context_settings={"help_option_names": ["-h", "--help"]},
)
_VIDEOS, _BOOKS, _TRY = "Videos", "What was paid", "Without a key"
app.command(rich_help_panel=_VIDEOS)(generate.generate)
app.command(rich_help_panel=_VIDEOS)(batch.batch)
app.command(rich_help_panel=_VIDEOS)(sweep.sweep)
app.command(rich_help_panel=_VIDEOS)(tasks.status)
app.command(rich_help_panel=_VIDEOS)(tasks.wait)
app.command(rich_help_panel=_VIDEOS)(account.upload)
app.command(rich_help_panel=_VIDEOS)(account.balance)
app.command(rich_help_panel=_BOOKS)(journal.journal)
app.command(rich_help_panel=_BOOKS)(settling.settle)
app.command(rich_help_panel=_BOOKS)(report.report)
app.add_typer(fleet.app, name="fleet", rich_help_panel="Many machines")
app.command(rich_help_panel=_TRY)(demo.demo)
app.command(rich_help_panel=_TRY)(emulate.emulator)


def _version(wanted: bool) -> None:
    if wanted:
        out(f"{NAME} {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def program(
    context: typer.Context,
    _shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Gemini Omni videos from the command line: describe, submit, follow, download.

    Nothing paid is lost: ids are shown the moment they are known and kept
    (omni-async journal), and a create is never sent twice.

    Start here, no key needed:

      omni-async demo

    With a key:

      export JIMMYAI_API_KEY=…
      omni-async generate "a cat in neon rain" --duration 6 -o cat.mp4

    Exit codes: 0 all done · 1 some failed · 2 usage, nothing sent ·
    3 a create may have been charged and has no id · 4 rows were not sent ·
    130 interrupted · 143 terminated · 129 its terminal was closed.
    """
    if context.invoked_subcommand is None:
        out(context.get_help())


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run the program and give its exit code."""
    speak_utf8()
    unwritten.clear()
    LIBRARY_LOG.addHandler(_SILENT)
    code = _executed(arguments)
    if unwritten:
        note(f"error: stdout did not take the results: {reason(unwritten[0])}")
    return code or (FAILED if unwritten else DONE)


def _executed(arguments: Sequence[str] | None) -> int:
    try:
        code: Any = app(args=None if arguments is None else list(arguments), prog_name=NAME, standalone_mode=False)
    except typer.Abort:
        return 130
    except SystemExit as left:
        if isinstance(left.__context__, BrokenPipeError):  # how click and rich end where the reader of a help has gone
            return DONE
        raise
    except Exception as error:
        return _refused(error)
    return code if isinstance(code, int) else 0


def _refused(error: Exception) -> int:
    """Tell what ended a command before its work began."""
    if hasattr(error, "format_message"):  # what every usage error has, whichever click it comes from
        note(_one_line(error))
        return USAGE
    for line in lines_of(error):
        note(line)
    return code_of(error)


def _one_line(error: Any) -> str:
    """A usage error and where to read on."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else NAME
    told = " ".join(error.format_message().split())
    return f"error: {told.removesuffix('.')}; see {command} --help"
