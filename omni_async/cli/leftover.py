"""What the user's own journal has unfinished: for a `wait` without ids."""

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from ..client import OmniClient
from ..delivery import file_in
from ..journal import Entry, Ledger, State
from ..safety import file_name
from ..settings import base_url_of
from .connect import Target, words_for
from .ledgers import BASE, OUTPUT, own_path
from .settling import settle_line

OPEN = (State.SUBMITTED, State.SUCCEEDED, State.UNCERTAIN)


@attrs.frozen(kw_only=True)
class Leftover:
    """Rows that are not at their end.

    Args:
        tasks: Tasks to wait for, each with the file that its video was to go to.
        uncertain: Ids of rows that wait to be settled.
        elsewhere: How many rows are unfinished elsewhere, by the options that reach them.
    """

    tasks: Mapping[str, Path | None]
    uncertain: tuple[str, ...]
    elsewhere: Mapping[str, int]

    def lines(self) -> Iterator[str]:
        """What a person has to be told of."""
        if not (self.tasks or self.uncertain or self.elsewhere):
            yield "nothing is unfinished"
        for options, count in self.elsewhere.items():
            yield f"{count} unfinished elsewhere: omni-async wait {options}"
        for key in self.uncertain:
            yield f"{key} may have been paid; look in the gateway's console, then {settle_line(own_path(), key)}"


async def unfinished(client: OmniClient, target: Target) -> Leftover:
    """What is unfinished in the client's journal, whoever began it."""
    follower = client.studio.followed()
    await follower.take_over()  # creates that a killed command left: found again, or uncertain
    rows = [entry for entry in await follower.journal.run(_open) if entry.state is not State.SUCCEEDED or _file(entry)]
    base = base_url_of(client.dialect, target.base_url)
    here = [entry for entry in rows if entry.gateway == target.gateway and entry.data.get(BASE, base) == base]
    keys = {entry.key for entry in here}
    return Leftover(
        tasks={entry.task_id: _file(entry) for entry in here if entry.task_id and entry.state is not State.UNCERTAIN},
        uncertain=tuple(entry.key for entry in here if entry.state is State.UNCERTAIN),
        elsewhere=Counter(
            shlex.join(words_for(entry.gateway, entry.data.get(BASE))) for entry in rows if entry.key not in keys
        ),
    )


def _open(ledger: Ledger) -> list[Entry]:
    return list(ledger.entries(OPEN))


def _file(entry: Entry) -> Path | None:
    """Where the video was to go."""
    output = entry.data.get(OUTPUT)
    name = file_name(entry.custom_id or entry.task_id or "")
    return file_in(output, name) if isinstance(output, str) else None
