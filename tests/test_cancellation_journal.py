"""Cancelled at every step of the event loop, with a journal on disk: what it tells is what the gateway charged."""

import pytest

from omni_async import Submitted, Uncertain
from tests.fault_server import ACCEPT, DROP, Act
from tests.journalled import rows
from tests.test_cancellation import Trial

STEPS = 150
STATES = {Submitted: "SUBMITTED", Uncertain: "UNCERTAIN"}


class WrittenTrial(Trial):
    """A trial whose journal is a file, and starts anew each time."""

    def __init__(self, act, step, how, folder):
        super().__init__(act, step, how)
        for file in folder.glob("j*"):
            file.unlink()
        self.folder, self.journal = folder, folder / "j"

    @property
    def submitted(self):
        """State and task id of a create that was charged."""
        return "SUBMITTED", self.server.charges[0]

    def check_everything(self):
        """The row is what was told, and nobody is left to send it."""
        told = super().check_everything()
        for row in (rows(self.folder) if self.journal.exists() else {}).values():
            assert row.state == (STATES[type(told[0])] if told else "PLANNED")
            assert row.task_id in (None, *self.server.charges)

    def check(self):
        """The row's state, and nothing left behind."""
        assert not self.left, self.left
        load = self.client.limiter.load()
        assert (load.in_flight, load.waiting_creates) == (0, 0)
        posts, charges = len(self.server.posts), self.server.charges
        assert len(charges) <= posts <= 1
        found = rows(self.folder) if self.journal.exists() else {}
        assert len(found) >= posts
        for row in found.values():
            outcome = ("PLANNED", None) if not posts else ("UNCERTAIN", None) if self.act is DROP else self.submitted
            assert (row.state, row.task_id) == outcome
        assert [path.name for path in self.folder.glob("j*") if "owner" in path.name] == []


@pytest.mark.parametrize("act", [ACCEPT, DROP, Act(raw=ACCEPT.raw, delay=3.0)], ids=["accept", "drop", "slow"])
@pytest.mark.parametrize("how", ["task", "scope", "closing"])
def test_rows_27_and_28_cancelled_after_each_step_the_journal_tells_the_truth(how, act, tmp_path):
    """Rows 27 and 28: no POST without a row, and the state that the gateway's charge asks for."""
    reached = posted = 0
    for step in range(STEPS):
        trial = WrittenTrial(act, step, how, tmp_path).run()
        trial.check()
        reached += trial.reached
        posted += len(trial.server.posts)
        if not trial.reached:
            break
    assert 10 < reached < STEPS, "the last steps must lie behind the end"
    assert posted > 0


@pytest.mark.parametrize("act", [ACCEPT, DROP, Act(raw=ACCEPT.raw, delay=3.0)], ids=["accept", "drop", "slow"])
def test_row_28_whoever_cancels_every_task_at_any_step_leaves_no_row_that_waits_for_ever(act, tmp_path):
    """Row 28: the row says what came of it, so that its id may be sent, is known, or can be settled."""
    posted = 0
    for step in range(STEPS):
        trial = WrittenTrial(act, step, "everything", tmp_path).run()
        trial.check_everything()
        posted += len(trial.server.posts)
        if not trial.reached:
            break
    assert posted > 0
