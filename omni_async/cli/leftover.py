"""What the user's own journal has unfinished: for a `wait` without ids."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from ..client import OmniClient
from ..journal import Entry, Ledger, State
from ..safety import file_name
from .generate import OUTPUT
from .ledgers import own_path
from .settling import settle_line

OPEN = (State.SUBMITTED, State.SUCCEEDED, State.UNCERTAIN)


@attrs.frozen(kw_only=True)
class Leftover:
    """Rows that are not at their end.

    Args:
        tasks: Tasks to wait for, each with the file that its video was to go to.
        uncertain: Ids of rows that wait to be settled.
        elsewhere: How many tasks run at other gateways.
    """

    tasks: Mapping[str, Path | None]
    uncertain: tuple[str, ...]
    elsewhere: Mapping[str, int]

    def lines(self) -> Iterator[str]:
        """What a person has to be told of."""
        if not (self.tasks or self.uncertain or self.elsewhere):
            yield "nothing is unfinished"
        for gateway, count in self.elsewhere.items():
            yield f"{count} unfinished at {gateway}: omni-async wait --gateway {gateway}"
        for key in self.uncertain:
            yield f"{key} may have been paid; look in the gateway's console, then {settle_line(own_path(), key)}"


async def unfinished(client: OmniClient) -> Leftover:
    """What is unfinished in the client's journal, whoever began it."""
    follower, gateway = client.studio.followed(), client.dialect.name
    await follower.take_over()  # creates that a killed command left: found again, or uncertain
    rows = [entry for entry in await follower.journal.run(_open) if entry.state is not State.SUCCEEDED or _file(entry)]
    here = [entry for entry in rows if entry.gateway == gateway]
    return Leftover(
        tasks={entry.task_id: _file(entry) for entry in here if entry.task_id and entry.state is not State.UNCERTAIN},
        uncertain=tuple(entry.key for entry in here if entry.state is State.UNCERTAIN),
        elsewhere=Counter(entry.gateway for entry in rows if entry.gateway != gateway),
    )


def _open(ledger: Ledger) -> list[Entry]:
    return list(ledger.entries(OPEN))


def _file(entry: Entry) -> Path | None:
    """Where the video was to go."""
    output = entry.data.get(OUTPUT)
    if not isinstance(output, str):
        return None
    folder = output.endswith(("/", os.sep)) or Path(output).is_dir()
    return Path(output, file_name(entry.custom_id or entry.task_id or "")) if folder else Path(output)
