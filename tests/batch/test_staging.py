"""A sheet entered into the journal: what is new, what was edited, and what stays as it is."""

import json

import attrs
import pytest

from omni_async.journal import SheetLedger, State, open_journal
from omni_async.journal.staging import Staging, all_or_none
from tests.journal.books import Clock


@attrs.frozen
class Line:
    """One checked row."""

    line: int
    custom_id: str | None
    prompt: str
    target: str | None = None
    carried: str | None = None
    metadata: str | None = None
    kind: str = "a video"

    @property
    def fingerprint(self):
        """Of its prompt alone; what begins alike shares its first digits."""
        return f"{hash(self.prompt[:1]) & 0xFFFFFFFFFFFF:012x}-{self.prompt}"

    @property
    def inputs(self):
        """As a request."""
        return json.dumps({"prompt": self.prompt})

    @property
    def target_key(self):
        """In small letters."""
        return self.target and self.target.lower()


class Sheets:
    """Sheet after sheet into one journal."""

    def __init__(self, path, occupied=None):
        self.ledger = SheetLedger(open_journal(path / "journal.sqlite3"), clock=Clock())
        self.occupied = occupied

    def enter(self, *lines, keep=True, retry=False, **options):
        """Enter a sheet; gives what it changed and the faults."""
        self.ledger.begin()
        staging = Staging(self.ledger, "jimmy", clock=Clock(), occupied=self.occupied, **options)
        faults = [fault for line in lines if (fault := staging.add(line)) is not None]
        if retry:
            staging.retry()
        staged = staging.finish()
        self.ledger.commit() if keep else self.ledger.rollback()
        return staged, [str(fault) for fault in faults]

    def changes(self, *lines, **options):
        """What it changed, as far as that is anything."""
        staged, faults = self.enter(*lines, **options)
        assert not faults
        return {name: count for name, count in attrs.asdict(staged.changes).items() if count}

    def set(self, key, state, **more):
        """A row stands somewhere."""
        self.ledger.connection.execute("UPDATE item SET state = ? WHERE key = ?", (state, key))
        for name, value in more.items():
            self.ledger.connection.execute(f"UPDATE item SET {name} = ? WHERE key = ?", (value, key))  # noqa: S608

    def entry(self, key):
        """One row."""
        return self.ledger.entry(key)

    @property
    def to_send(self):
        """The rows that are to be sent, by id, with what is asked for now."""
        return {entry.key: entry for _, entry in self.ledger.planned(int(self.ledger.note("run")), 0, 99)}

    @property
    def keys(self):
        """All ids."""
        return [entry.key for entry in self.ledger.entries()]


@pytest.fixture
def sheets(tmp_path):
    """A new journal."""
    found = Sheets(tmp_path)
    yield found
    found.ledger.connection.close()


def auto(line, prompt, **more):
    """A row without an id."""
    return Line(line, None, prompt, **more)


def test_new_rows(sheets):
    """Entered as PLANNED, with their place, kind and file."""
    staged, _ = sheets.enter(Line(1, "a", "cat", kind="x"), Line(2, "b", "dog", "B.mov"), auto(3, "owl"))
    assert staged.changes.new == 3
    assert staged.states == {State.PLANNED: 3}
    assert staged.kinds == {"x": 1, "a video": 2}
    entry = sheets.entry("b")
    assert (entry.state, entry.position, entry.target, entry.run) == (State.PLANNED, 2, "B.mov", 1)
    assert sheets.entry("a").target == "a.mp4"


def test_ids_of_rows_without_one_stay_whatever_their_order(sheets):
    """They are made of what is asked; the same once more is -2, -3. Sorting and deleting change nothing."""
    rows = [auto(1, "cat"), auto(2, "cat"), auto(3, "dog"), auto(4, "cat")]
    sheets.enter(*rows)
    cat, dog = rows[0].fingerprint[:12], rows[2].fingerprint[:12]
    assert sheets.keys == [cat, f"{cat}-2", dog, f"{cat}-3"]
    assert sheets.changes(*(attrs.evolve(row, line=9 - row.line) for row in reversed(rows))) == {"same": 4}
    assert sheets.changes(auto(1, "cat"), auto(2, "cat")) == {"same": 2, "missing": 2}
    assert sheets.changes(*rows, auto(5, "owl")) == {"same": 4, "new": 1}


def test_rows_whose_fingerprints_begin_alike(sheets):
    """Each keeps its own video, in either order: none is taken for an edit of the other."""
    one, other = auto(1, "cat"), auto(2, "cow")
    assert one.fingerprint[:12] == other.fingerprint[:12]
    sheets.enter(one, other)
    first = one.fingerprint[:12]
    for key in (first, f"{first}-2"):
        sheets.set(key, State.DONE)
    assert sheets.changes(one, other) == {"same": 2}
    assert sheets.changes(attrs.evolve(other, line=1), attrs.evolve(one, line=2)) == {"same": 2}


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("redo", [False, True])
def test_an_edited_row(sheets, state, redo):
    """Unpaid it is updated; paid it is kept, or with redo_edited to be paid again once its task is over."""
    sheets.enter(Line(1, "a", "cat"))
    sheets.set("a", state, size=4, sha256="x", task_id="t")
    changes = sheets.changes(Line(1, "a", "dog"), redo_edited=redo)
    entry, asked = sheets.entry("a"), sheets.to_send.get("a")
    over = state in (State.SUCCEEDED, State.DONE, State.FAILED, State.CANCELED, State.EXPIRED)
    if state in (State.PLANNED, State.REJECTED):
        assert changes == {"updated": 1}
    else:
        assert changes == ({"redone": 1} if redo and over else {"kept": 1})
    assert (asked and asked.inputs) == (None if "kept" in changes else '{"prompt": "dog"}')
    if "updated" not in changes:
        assert (entry.state, entry.inputs, entry.size, entry.task_id) == (state, '{"prompt": "cat"}', 4, "t")
        assert not sheets.ledger.records("a")


@pytest.mark.parametrize("state", list(State))
def test_a_row_as_it_was(sheets, state):
    """Its place, carried columns and metadata are taken over; nothing else."""
    sheets.enter(Line(1, "a", "cat"))
    sheets.set("a", state)
    row = Line(7, "a", "cat", carried='{"scene": 1}', metadata='{"x": 1}')
    assert sheets.changes(row) == {"same": 1}
    entry = sheets.entry("a")
    assert (entry.state, entry.position, entry.carried, entry.metadata) == (state, 7, row.carried, row.metadata)


def test_what_is_told_of_rows_that_failed_and_of_rows_that_were_edited(sheets):
    """Edited ones by where they stand, tried again no more; those refused for their content only if they were not."""
    states = {"f": State.FAILED, "m": State.FAILED, "em": State.FAILED, "ef": State.FAILED, "ed": State.DONE}
    sheets.enter(*(Line(line, key, key) for line, key in enumerate([*states, "eu", "old"])))
    for key, state in (states | {"eu": State.UNCERTAIN, "old": State.FAILED}).items():
        sheets.set(key, state)
    rows = [Line(line, key, key * (1 + key.startswith("e"))) for line, key in enumerate([*states, "eu"])]
    options = {"moderated": lambda entry: entry.key in ("m", "em", "old")}
    staged, _ = sheets.enter(*rows, **options)
    assert staged.edited == {State.FAILED: 2, State.DONE: 1, State.UNCERTAIN: 1}
    assert (staged.moderated, staged.changes.kept) == (1, 4)
    staged, _ = sheets.enter(*rows, retry=True, **options)
    assert staged.edited == {State.PLANNED: 1, State.FAILED: 1, State.DONE: 1, State.UNCERTAIN: 1}
    assert (staged.moderated, staged.changes.retried, staged.states[State.FAILED]) == (1, 2, 2)


def test_retry(sheets):
    """Failed, cancelled and expired rows, and refused ones that may be sent again; not moderated or uncertain ones."""
    states = {"f": State.FAILED, "c": State.CANCELED, "e": State.EXPIRED, "m": State.FAILED, "u": State.UNCERTAIN}
    rows = [Line(line, key, key) for line, key in enumerate([*states, "r0", "r1", "old"])]
    sheets.enter(*rows)
    for key, state in states.items():
        sheets.set(key, state)
    sheets.set("r0", State.REJECTED, again=0)
    sheets.set("r1", State.REJECTED, again=1)
    sheets.set("old", State.FAILED)
    changes = sheets.changes(*rows[:-1], retry=True, moderated=lambda entry: entry.key == "m")
    assert changes == {"same": 7, "retried": 4, "missing": 1}
    assert sheets.to_send.keys() == {"f", "c", "e", "r1"}
    assert sheets.entry("f").state is State.FAILED
    assert not sheets.ledger.records("f")
    sheets.changes(*rows[:-1])
    assert not sheets.to_send


def test_a_row_that_is_to_be_redone_has_its_file_for_itself(sheets):
    """What it names for its next video is no other row's from now on; until that is paid it has its last one's."""
    sheets.enter(Line(1, "a", "cat"), Line(2, "b", "dog"))
    sheets.set("a", State.DONE)
    redone = Line(1, "a", "tiger", "x.mp4")
    for other in (Line(3, "c", "owl", "X.mp4"), Line(3, "c", "owl", "x.mp4/y.mp4"), Line(2, "b", "dog", "x.mp4")):
        _, faults = sheets.enter(redone, other, redo_edited=True, keep=False)
        assert len(faults) == 1
    _, faults = sheets.enter(redone, Line(3, "c", "owl", "y.mp4"), redo_edited=True)
    assert not faults
    assert (sheets.entry("a").target, sheets.to_send["a"].target) == ("a.mp4", "x.mp4")


def test_what_was_refused_for_all_is_sent_again_by_itself(sheets):
    """The key or the balance was refused, not the row."""
    sheets.enter(Line(1, "a", "cat"), Line(2, "b", "dog"))
    sheets.set("a", State.REJECTED, again=2, detail="no money")
    sheets.set("b", State.REJECTED, again=1)
    staged, _ = sheets.enter(Line(1, "a", "cat"), Line(2, "b", "dog"))
    assert staged.states == {State.PLANNED: 1, State.REJECTED: 1}
    assert staged.kinds == {"a video": 1}


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (Line(1, "a", "cat"), Line(2, "a", "dog"), "'a' is the id of line 1 already"),
        (Line(1, "a", "cat", "x.mp4"), Line(2, "b", "dog", "X.mp4"), "'X.mp4' is the file of line 1 already"),
        (Line(1, "a", "cat", "x.mp4"), Line(2, "b", "dog", "x.mp4/y.mp4"), "is another row's file"),
        (Line(1, "a", "cat", "x.mp4/z/y.mp4"), Line(2, "b", "dog", "X.mp4"), "for other rows' files"),
    ],
)  # fmt: skip
def test_rows_in_each_others_way(sheets, first, second, told):
    """A fault of the second, which is not entered; in a later sheet, too."""
    for _ in range(2):
        staged, faults = sheets.enter(first, second)
        assert len(faults) == 1
        assert told in faults[0]
        assert sheets.keys == ["a"]
        assert staged.changes.new + staged.changes.same == 1


def test_the_file_of_a_stored_video_stays_its_own(sheets):
    """Another row cannot have it, and the row keeps it whatever the sheet says now."""
    sheets.enter(Line(1, "a", "cat", "x.mp4"))
    sheets.set("a", State.DONE)
    _, faults = sheets.enter(Line(1, "a", "cat", "y.mp4"), Line(2, "b", "dog", "x.mp4"))
    assert len(faults) == 1
    assert "'x.mp4' is the file of" in faults[0]
    assert sheets.entry("a").target == "x.mp4"
    assert sheets.keys == ["a"]


def test_two_rows_may_swap_their_files(sheets):
    """As long as neither is stored; a row that was dropped from the sheet gives its name away."""
    sheets.enter(Line(1, "a", "cat", "x.mp4"), Line(2, "b", "dog", "y.mp4"), Line(3, "c", "owl", "z.mp4"))
    sheets.set("c", State.SUBMITTED)
    assert sheets.changes(
        Line(1, "a", "cat", "y.mp4"), Line(2, "b", "dog", "x.mp4"), Line(3, "d", "elk", "z.mp4")
    ) == {"same": 2, "new": 1, "missing": 1}  # fmt: skip
    assert [sheets.entry(key).target for key in "abd"] == ["y.mp4", "x.mp4", "z.mp4"]
    assert sheets.entry("c").target.startswith("z-")


def test_a_file_that_is_there_already(sheets):
    """A fault before anything is paid, of new rows and of those that wait; a redone one's old video is none."""
    there = set()
    sheets.occupied = there.__contains__
    sheets.enter(Line(1, "a", "cat"), Line(2, "b", "dog"))
    sheets.set("b", State.DONE, sha256="x", size=4)
    there |= {"a.mp4", "b.mp4", "c.mp4"}
    staged, faults = sheets.enter(Line(1, "a", "cat"), Line(2, "b", "another"), Line(3, "c", "owl"), redo_edited=True)
    assert [fault.split()[1] for fault in faults] == ["'a.mp4'", "'c.mp4'"]
    assert sheets.keys == ["a", "b"]
    assert staged.states == {State.PLANNED: 1}
    assert staged.changes.new == 0


def test_rows_left_out_are_not_missing(sheets):
    """They stand as they were, and are told as left out, not as gone; and that an id is another row's, too."""
    sheets.enter(Line(1, "a", "cat"), Line(2, "b", "dog"))
    sheets.ledger.begin()
    staging = Staging(sheets.ledger, "jimmy")
    staging.add(Line(1, "a", "cat"))
    told = [staging.left_out(key, line) for line, key in enumerate(("b", "b", "nobody", "a"), 2)]
    assert [str(fault) for fault in told if fault] == [
        "id: 'b' is the id of line 2 already",
        "id: 'a' is the id of line 1 already",
    ]
    assert staging.finish().changes.missing == 0
    assert sheets.entry("b").run == 1


def test_all_or_none(sheets):
    """What raises undoes what it did; the transaction around it goes on."""
    sheets.ledger.begin()
    sheets.ledger.write_note("before", "1")

    def fail():
        with all_or_none(sheets.ledger.connection):
            Staging(sheets.ledger, "jimmy").add(Line(1, "a", "cat"))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    sheets.ledger.commit()
    assert sheets.keys == []
    assert sheets.ledger.note("before") == "1"


def test_columns_are_remembered(sheets):
    """Those of this sheet first, those of earlier ones behind."""
    sheets.ledger.begin()
    staging = Staging(sheets.ledger, "jimmy")
    staging.write_columns(["scene", "take"])
    staging.write_columns(["名", "scene"])
    assert sheets.ledger.columns == ["名", "scene", "take"]


def test_without_a_sheet_the_last_one_stands(sheets):
    """Nothing is missing, and nothing changes."""
    sheets.enter(Line(1, "a", "cat"), Line(2, "b", "dog"))
    sheets.enter(Line(1, "a", "cat"))
    sheets.ledger.begin()
    staging = Staging(sheets.ledger, "jimmy")
    staging.resume()
    staged = staging.finish()
    assert staged.states == {State.PLANNED: 1}
    assert staged.changes.missing == 1
    assert sheets.ledger.note("run") == "2"
