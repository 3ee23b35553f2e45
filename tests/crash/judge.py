"""The verdict on a batch folder, by the ledger of charges: what was paid twice, what was lost, what is uncertain.

The journal is read from a copy, so that the next run of the batch recovers it unaided.
"""

import contextlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from charging import Video

JOURNAL, RESULTS = "journal.sqlite3", "results.jsonl"
ITEMS = "select key, state, task_id from item"

WITH_TASK = frozenset({"SUBMITTED", "SUCCEEDED", "FAILED", "CANCELED", "DONE", "EXPIRED"})
OPEN = frozenset({"SUBMITTING", "UNCERTAIN"})
SETTLED = {
    "DONE": "succeeded",
    "FAILED": "failed",
    "CANCELED": "canceled",
    "REJECTED": "rejected",
    "UNCERTAIN": "uncertain",
    "EXPIRED": "expired",
}
MEMORY = Path("/dev/shm")  # noqa: S108 - a copy that nobody else needs, kept off the disk under test


def prompt_of(row_id):
    """A prompt that only this row has."""
    return f"row {row_id} a cat in neon rain"


def row_of(prompt):
    """Whose prompt it is."""
    return prompt.split(" ", 2)[1]


class Bill:
    """The gateway's ledger, read on as it grows.

    `finished` is given by whoever looks into the journal between two runs: a file of these must not be asked for again.
    """

    def __init__(self, path):
        self._path, self._place = Path(path), 0
        self.charges = {}  # row: its task ids
        self.spans = {}  # task: the bytes that went out, span by span
        self.finished = set()
        self.again = []

    def read(self):
        """Take in what was written since."""
        with self._path.open("rb") as file:
            file.seek(self._place)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._place += len(whole)
        for line in whole.splitlines():
            note = json.loads(line)
            getattr(self, f"_{note['kind']}")(note)
        return self

    def _charge(self, note):
        self.charges.setdefault(row_of(note["prompt"]), []).append(note["task"])

    def _refused(self, note):
        pass

    def _asked(self, note):
        if note["task"] in self.finished:
            self.again.append(note["task"])

    def _file(self, note):
        self.spans.setdefault(note["task"], []).append((note["from"], note["to"]))

    def sent_twice(self):
        """Bytes of videos sent more than once: in all, and the most by one request."""
        extra = [again for spans in self.spans.values() for again in twice(spans)]
        return sum(extra), max(extra, default=0)


def twice(spans):
    """For each request, how many of its bytes had been sent before. Spans are in the order in which they ended."""
    reached = 0
    for begin, end in spans:
        yield max(min(reached, end) - begin, 0)
        reached = max(reached, end)


@contextlib.contextmanager
def copied(folder):
    """A connection to a copy of the folder's journal, as a crash left it."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as place:
        for ending in ("", "-wal"):
            source = Path(folder) / f"{JOURNAL}{ending}"
            if source.exists():
                shutil.copyfile(source, Path(place) / source.name)
        with contextlib.closing(sqlite3.connect(Path(place) / JOURNAL)) as connection:
            yield connection


def items(connection):
    """Each row's state and task id; nothing if a kill came before the first table."""
    if not connection.execute("select 1 from sqlite_master where name = 'item'").fetchone():
        return {}
    return {key: (state, task_id) for key, state, task_id in connection.execute(ITEMS)}


@dataclass
class Verdict:
    """What the judge found. `faults` says in words what must not be."""

    charges: int = 0
    duplicates: list = field(default_factory=list)
    lost: list = field(default_factory=list)
    wrong: list = field(default_factory=list)
    states: Counter = field(default_factory=Counter)
    uncertain: int = 0
    uncertain_charged: int = 0
    again: list = field(default_factory=list)
    integrity: str = "ok"
    folder: list = field(default_factory=list)

    @property
    def precision(self):
        """Share of the uncertain rows that were really charged."""
        return self.uncertain_charged / self.uncertain if self.uncertain else 1.0

    def faults(self, bound=None):
        """Every broken promise; `bound` is how many uncertain rows there may be."""
        named = {
            "charged twice": self.duplicates,
            "charged and not accounted for": self.lost,
            "with a task id that is not its own": self.wrong,
            "finished and asked for again": self.again,
            "journal": [] if self.integrity == "ok" else [self.integrity],
            "results": self.folder,
        }
        if bound is not None and self.uncertain > bound:
            named["uncertain"] = [f"{self.uncertain}, more than {bound}"]
        return [f"{what}: {which[:5]}, {len(which)} in all" for what, which in named.items() if which]


def judge(bill, folder, *, check=True):
    """Hold a folder's journal against the bill. No batch may be running on it."""
    with copied(folder) as connection:
        rows = items(connection)
        integrity = connection.execute("pragma integrity_check").fetchone()[0] if check else "ok"
    bill.read()  # after the journal: a charge that comes late belongs to a row that says it was being submitted
    verdict = weighed(bill, rows)
    verdict.integrity, verdict.again = integrity, list(bill.again)
    return verdict


def weighed(bill, rows):
    """Hold rows, each with its state and task id, against the bill as it was read."""
    verdict = Verdict()
    verdict.charges = sum(map(len, bill.charges.values()))
    verdict.duplicates = [row for row, tasks in bill.charges.items() if len(tasks) > 1]
    verdict.states = Counter(state for state, _ in rows.values())
    for row, tasks in bill.charges.items():
        _weigh(verdict, row, tasks, *rows.get(row, ("missing", None)))
    verdict.wrong += [f"{row} {task_id}" for row, (_, task_id) in rows.items() if task_id and row not in bill.charges]
    verdict.uncertain = sum(verdict.states[state] for state in OPEN)
    bill.finished |= {task_id for state, task_id in rows.values() if state == "DONE"}
    return verdict


def _weigh(verdict, row, tasks, state, task_id):
    """One charged row: it has its own id, or is open."""
    verdict.uncertain_charged += state in OPEN
    if state not in WITH_TASK | OPEN or (state in WITH_TASK and not task_id):
        verdict.lost.append(f"{row} {state}")
    if task_id and task_id not in tasks:
        verdict.wrong.append(f"{row} {task_id}")


def judge_results(folder, *, video_bytes):
    """What is wrong with the results of a batch that has ended: one line a settled row, and every video whole."""
    folder = Path(folder)
    if not (folder / RESULTS).exists():
        return [f"there is no {RESULTS}"]
    with copied(folder) as connection:
        rows = items(connection)
    settled = {key: (SETTLED[state], task_id) for key, (state, task_id) in rows.items() if state in SETTLED}
    lines = [json.loads(line) for line in (folder / RESULTS).read_text("utf-8").splitlines()]
    count = Counter(line["id"] for line in lines)
    faults = [f"{key} has {count[key]} lines" for key in settled if count[key] != 1]
    faults += [f"{key} has a line and is not settled" for key in count if key not in settled]
    told = {line["id"]: (line["status"], line.get("task_id")) for line in lines}
    faults += [
        f"{key}: {told[key]}, journal {expected}" for key, expected in settled.items() if _differs(told, key, expected)
    ]
    return faults + _videos(folder, lines, video_bytes)


def _differs(told, key, expected):
    return key in told and (told[key][0] != expected[0] or (expected[1] and told[key][1] != expected[1]))


def _videos(folder, lines, video_bytes):
    """Each video that results tell of, held against what the gateway has; and nothing half-done beside them."""
    faults = [f"{path.name} is left" for path in folder.rglob("*.part*")]
    for line in lines:
        if line["status"] != "succeeded":
            continue
        path = next(
            (place for place in (folder / line["file"], folder / "videos" / line["file"]) if place.exists()), None
        )
        if path is None or path.read_bytes() != Video(line["task_id"], video_bytes).data:
            faults.append(f"{line['id']}: its video is {'missing' if path is None else 'not the one it should be'}")
    return faults
