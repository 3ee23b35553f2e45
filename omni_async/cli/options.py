"""Options that several commands share."""

import enum
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from ..dialects import GATEWAYS, dialect_named


class GatewayName(enum.StrEnum):
    """The gateways that come with the library."""

    JIMMY = "jimmy"
    GEMINI_OMNI = "gemini_omni"
    TOAPIS = "toapis"


class ProgressMode(enum.StrEnum):
    """How progress is shown."""

    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    NONE = "none"


def offering(values: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """What a shell is told an option's value can be; any other is taken all the same."""
    return lambda incomplete: [value for value in values() if value.startswith(incomplete)]


def model_fields(name: str) -> Callable[[], list[str]]:
    """What the gateways' model tables have in a field, each once."""

    def found() -> list[str]:
        models = [spec for gateway in GATEWAYS for spec in getattr(dialect_named(gateway), "models", ())]
        values = (getattr(spec, name) for spec in models)
        return list(dict.fromkeys(one for value in values for one in ([value] if isinstance(value, str) else value)))

    return found


_CONNECTION = "Gateway"
_OUTPUT = "Output"

Gateway = Annotated[
    GatewayName,
    typer.Option(
        "--gateway",
        "-g",
        help="Whose API: [b]jimmy[/b] (key in JIMMYAI_API_KEY), [b]gemini_omni[/b] or [b]toapis[/b] (TOAPIS_API_KEY).",
        rich_help_panel=_CONNECTION,
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="Where the gateway is, if not at its own address; also JIMMYAI_BASE_URL, TOAPIS_BASE_URL.",
        rich_help_panel=_CONNECTION,
    ),
]
UseEmulator = Annotated[
    bool,
    typer.Option(
        "--emulator",
        help="Talk to an emulator started for this command: no key, nothing is charged.",
        rich_help_panel=_CONNECTION,
    ),
]
ScenarioFile = Annotated[
    Path | None,
    typer.Option("--scenario", metavar="FILE.json", help="How the emulator behaves.", rich_help_panel=_CONNECTION),
]
Poll = Annotated[
    float | None,
    typer.Option(
        "--poll",
        metavar="SECONDS",
        min=0.01,
        help="The shortest interval between looks at a task; the gateway's advice unless given.",
        rich_help_panel=_CONNECTION,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Results as JSON on stdout.", rich_help_panel=_OUTPUT)]
Progress = Annotated[
    ProgressMode,
    typer.Option(
        "--progress",
        help="[b]live[/b] draws on the terminal, [b]plain[/b] writes lines, [b]auto[/b] picks; always on stderr.",
        rich_help_panel=_OUTPUT,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet",
        "-q",
        help="No progress: only ids of what is paid, warnings, errors, results.",
        rich_help_panel=_OUTPUT,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that are there already.", rich_help_panel=_OUTPUT)
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", min=0.01, help="How long to wait at most; the task goes on at the gateway."
    ),
]
