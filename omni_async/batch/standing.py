"""Where a run stands: what is open, what has settled, how many rows are in which state."""

from collections import Counter
from collections.abc import Mapping

import anyio
import attrs

from ..journal.entries import Entry
from ..journal.states import State
from .gate import Gate
from .results import Results, settled


@attrs.define(eq=False)
class Standing:
    """What the parts of a run share.

    Args:
        gate: Whether creates may be sent.
        results: Takes a line for each settled row.
        stop_after: Rows that may fail before no more is sent.
    """

    gate: Gate
    results: Results
    stop_after: int | None = None
    run: int = 0
    states: Counter[State] = attrs.field(factory=Counter)
    open: dict[str, float] = attrs.field(factory=dict)
    """When each task that is waited for began, the oldest first."""
    failures: int = 0
    heard: bool = False
    """Whether the gateway ever answered in this run."""
    _ended: set[str] = attrs.field(factory=set)  # before it was known here that they had begun

    def begins(self, run: int, states: Mapping[State, int]) -> None:
        """The run begins, with its rows in these states."""
        self.run, self.states = run, Counter(states)

    def began(self, task_id: str) -> None:
        """A task is waited for, unless it has ended already."""
        self.heard = True
        if task_id in self._ended:
            self._ended.discard(task_id)
        else:
            self.open[task_id] = anyio.current_time()

    def ended(self, task_id: str) -> None:
        """A task is waited for no more, if it was."""
        if self.open.pop(task_id, None) is None:
            self._ended.add(task_id)
        else:
            self.gate.notify()  # there is room for another

    def moved(self, entry: Entry, before: State) -> None:
        """A row stands elsewhere than before; rows that are no longer in the sheet are not counted."""
        if entry.run == self.run:
            self.states[before] -= 1
            self.states[entry.state] += 1

    def settled(self, entry: Entry) -> None:
        """A row is through: its line, and whether enough have failed."""
        if not settled(entry):
            return
        self.results.append(entry)
        if entry.state is not State.DONE:
            self.failures += 1
            if self.stop_after is not None and self.failures >= self.stop_after:
                self.gate.close(f"stop_after_failures={self.stop_after} is reached")
