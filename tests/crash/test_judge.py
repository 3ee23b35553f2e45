"""The judge itself: it finds what it is there to find, and nothing else."""

import json
import sqlite3

import pytest
from charging import Video
from judge import JOURNAL, RESULTS, Bill, judge, judge_results, prompt_of, twice

BYTES = 100


class Scene:
    """A ledger and a batch folder, written by hand."""

    def __init__(self, folder):
        self.out, self.ledger = folder / "out", folder / "ledger.jsonl"
        (self.out / "videos").mkdir(parents=True)
        self.ledger.touch()
        self.bill = Bill(self.ledger)
        self.journal = sqlite3.connect(self.out / JOURNAL, isolation_level=None)
        self.journal.execute("create table item (key, state, task_id)")

    def note(self, kind, **what):
        """A line of the ledger."""
        with self.ledger.open("a") as file:
            file.write(json.dumps({"kind": kind, **what}) + "\n")

    def charge(self, row, task_id):
        """A charge."""
        self.note("charge", prompt=prompt_of(row), task=task_id)

    def row(self, key, state, task_id=None):
        """A row of the journal."""
        self.journal.execute("insert into item values (?, ?, ?)", (key, state, task_id))

    def results(self, *lines):
        """The results, with a video for each row that has one."""
        text = "".join(json.dumps({"file": f"{line['id']}.mp4", **line}) + "\n" for line in lines)
        (self.out / RESULTS).write_text(text)
        for line in lines:
            (self.out / "videos" / f"{line['id']}.mp4").write_bytes(Video(line["task_id"], BYTES).data)

    def verdict(self):
        """What the judge says."""
        return judge(self.bill, self.out)


@pytest.fixture
def scene(tmp_path):
    """A batch with a row in order for every state."""
    scene = Scene(tmp_path)
    for number, state in enumerate(("SUBMITTED", "SUCCEEDED", "DONE", "FAILED"), 1):
        scene.charge(f"r{number}", f"t{number}")
        scene.row(f"r{number}", state, f"t{number}")
    scene.charge("u1", "t9")
    scene.row("u1", "UNCERTAIN")
    scene.row("u2", "SUBMITTING")
    scene.row("p1", "PLANNED")
    yield scene
    scene.journal.close()


def test_a_batch_in_order_has_no_faults(scene):
    """Nothing lost, nothing twice; half of what is uncertain was charged."""
    verdict = scene.verdict()
    assert verdict.faults(bound=2) == []
    assert (verdict.charges, verdict.uncertain, verdict.precision) == (5, 2, 0.5)


@pytest.mark.parametrize(
    ("state", "task_id", "fault"),
    [
        (None, None, "not accounted for: ['x missing']"),
        ("PLANNED", None, "not accounted for: ['x PLANNED']"),
        ("REJECTED", None, "not accounted for: ['x REJECTED']"),
        ("SUBMITTED", None, "not accounted for: ['x SUBMITTED']"),
        ("SUBMITTED", "t1", "not its own: ['x t1']"),
    ],
)
def test_a_charge_that_is_not_accounted_for_is_lost(scene, state, task_id, fault):
    """A charged row has its own task id or is open, and nothing else."""
    scene.charge("x", "t20")
    if state:
        scene.row("x", state, task_id)
    (told,) = scene.verdict().faults()
    assert fault in told


def test_what_else_must_not_be(scene):
    """A prompt charged twice, an id that nobody gave, more uncertain rows than were in flight, a file fetched again."""
    scene.verdict()
    scene.charge("r1", "t1b")
    scene.row("y", "SUBMITTED", "t77")
    scene.note("asked", task="t2", at=0)
    scene.note("asked", task="t3", at=0)
    told = "\n".join(scene.verdict().faults(bound=1))
    assert "charged twice: ['r1']" in told
    assert "not its own: ['y t77']" in told
    assert "uncertain: ['2, more than 1']" in told
    assert "asked for again: ['t3']" in told


def test_results_are_held_against_the_journal_and_the_videos(tmp_path):
    """One line for each settled row, with what the journal says, and every video whole."""
    scene = Scene(tmp_path)
    scene.row("a", "DONE", "t1")
    scene.row("b", "DONE", "t2")
    scene.row("c", "FAILED", "t3")
    scene.results(
        {"id": "a", "status": "succeeded", "task_id": "t1"}, {"id": "b", "status": "succeeded", "task_id": "t9"}
    )
    faults = judge_results(scene.out, video_bytes=BYTES)
    scene.journal.close()
    assert faults == ["c has 0 lines", "b: ('succeeded', 't9'), journal ('succeeded', 't2')"]
    (scene.out / "videos" / "a.mp4").write_bytes(b"half")
    (scene.out / "videos" / "d.mp4.part").touch()
    faults = judge_results(scene.out, video_bytes=BYTES)
    assert {"d.mp4.part is left", "a: its video is not the one it should be"} < set(faults)


@pytest.mark.parametrize(
    ("spans", "bytes_"),
    [([(0, 10)], 0), ([(0, 10), (10, 20)], 0), ([(0, 10), (5, 20)], 5), ([(0, 9), (0, 9), (0, 9)], 18), ([(9, 9)], 0)],
)
def test_bytes_sent_twice(spans, bytes_):
    """What lies in several spans is counted each time but the first."""
    assert sum(twice(spans)) == bytes_
