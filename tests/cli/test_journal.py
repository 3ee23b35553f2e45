"""`journal` and `settle`: what a journal knows, and the answer to its one open question."""

import base64
import contextlib
import csv
import json
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest

from omni_async.cli import rowtext
from omni_async.cli.app import app
from omni_async.journal import Answer, Intent, Ledger, State, open_journal
from omni_async.journal.owners import Ownership

from .conftest import PATIENCE, command, environment

COLUMNS = ("id", "custom_id", "state", "task_id", "candidate", "gateway", "attempts", "planned_at", "sent_at",
           "finished_at", "detail", "video_url", "expires_at", "file", "request")  # fmt: skip
SHEET = "id,prompt,scene\na,a red cat,1\nb,a blue cat,2\nc,a green cat,3\n"


@pytest.fixture
def folder(omni, scenario):
    """A batch of which one row failed and one is uncertain."""
    Path("shots.csv").write_text(SHEET)
    faults = [{"kind": "fail", "prompt": "blue"}, {"kind": "html_200", "prompt": "green"}]
    ran = omni("batch", "shots.csv", "--emulator", "--scenario", scenario(faults=faults), "-o", "shots", "-q")
    assert ran.code == 3
    return Path("shots")


@pytest.fixture
def book():
    """A client's journal that a test fills."""
    ledger = Ledger(open_journal(Path("own.sqlite3")), clock=lambda: 1_700_000_000.0)

    def add(key, state="UNCERTAIN", owner="dead", gateway="jimmy", **answer):
        ledger.intend(Intent(key=key, fingerprint="f", gateway=gateway, inputs='{"prompt": "x"}'), owner=owner)
        if state != "SUBMITTING":
            ledger.answered(key, Answer(state=state, **answer))

    yield add
    ledger.connection.close()


def files_in(folder):
    return sorted(path.name for path in Path(folder).iterdir())


class TestRows:
    """Listing."""

    def test_a_line_a_row(self, omni, folder):
        """Where stdout is not a terminal, tabs separate; the sums and what to do about uncertain rows are on stderr."""
        ran = omni("journal", folder)
        rows = [line.split("\t") for line in ran.out.splitlines()]
        assert ran.code == 0
        assert [row[:2] for row in rows] == [["a", "done"], ["b", "failed"], ["c", "uncertain"]]
        assert rows[0][2].startswith("task_")
        assert rows[1][5] == "Read timed out"
        assert ran.err.startswith("1 failed · 1 done · 1 uncertain · 2 paid\n")
        assert "omni-async settle shots ID --task-id T | --not-charged | --pay-again" in ran.err

    def test_as_json(self, omni, folder):
        """A plain list of rows, each with all its fields, states in capitals, times in ISO 8601."""
        rows = omni("journal", folder, "--json").json
        assert all(tuple(row) == COLUMNS for row in rows)
        assert [(row["id"], row["state"]) for row in rows] == [("a", "DONE"), ("b", "FAILED"), ("c", "UNCERTAIN")]
        done = rows[0]
        assert done["request"] == {"prompt": "a red cat"}
        assert done["file"] == "videos/a.mp4"
        assert done["video_url"].startswith("http")
        assert done["planned_at"] <= done["sent_at"] <= done["finished_at"]
        assert done["sent_at"].endswith("+00:00")

    @pytest.mark.parametrize("words", [["--state", "Failed,uncertain"], ["-s", "FAILED", "-s", "uncertain"]])
    def test_states(self, omni, folder, words):
        """In any case, repeated or with commas."""
        assert [row["id"] for row in omni("journal", folder, *words, "--json").json] == ["b", "c"]

    @pytest.mark.parametrize("word", ["lost", "done,lost", ","])
    def test_an_unknown_state_names_the_allowed_ones(self, omni, folder, word):
        """One line, with all there are."""
        ran = omni("journal", folder, "--state", word)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert all(state.lower() in ran.err for state in State)

    def test_what_a_killed_process_was_sending_is_uncertain(self, omni, book):
        """Its sender's lock is free, so it may have been paid: in the list, the tally, the filter, and by itself."""
        living = Ownership(Path("own.sqlite3").absolute(), exclusive=False)
        book("lost", "SUBMITTING", owner="dead")
        book("sending", "SUBMITTING", owner=living.name)
        book("refused", "REJECTED", again=2)
        ran = omni("journal", "own.sqlite3")
        states = [row.split("\t")[:2] for row in ran.out.splitlines()]
        assert states == [["lost", "uncertain"], ["sending", "submitting"], ["refused", "planned"]]
        assert ran.err.startswith("1 planned · 1 submitting · 1 uncertain\nuncertain rows may have been paid: look in ")
        (row,) = omni("journal", "own.sqlite3", "--state", "uncertain", "--json").json
        assert (row["id"], row["state"]) == ("lost", "UNCERTAIN")
        assert row["detail"] == "the program that was sending it ended before an answer was written down"
        assert [row["id"] for row in omni("journal", "own.sqlite3", "-s", "submitting", "--json").json] == ["sending"]
        assert omni("journal", "own.sqlite3", "-s", "rejected", "--json").json == []
        one = omni("journal", "own.sqlite3", "lost")
        assert "\nstate       UNCERTAIN\n" in one.out
        assert "it may have been paid: look in the gateway's console, then omni-async settle" in one.err
        told = omni("report", "own.sqlite3", "--json").json
        assert told["states"] == {"planned": 1, "submitting": 1, "uncertain": 1}
        living.release()

    def test_no_rows(self, omni, folder):
        """An empty list is one."""
        assert omni("journal", folder, "--state", "planned", "--json").json == []
        assert omni("journal", folder, "--state", "planned").out == ""

    def test_a_file_does_as_well(self, omni, folder):
        """The journal itself may be named."""
        assert len(omni("journal", folder / "journal.sqlite3", "--json").json) == 3

    @pytest.mark.parametrize("place", ["nowhere", "empty", "nowhere/journal.sqlite3"])
    def test_a_place_without_a_journal(self, omni, place):
        """One line, and nothing is made."""
        Path("empty").mkdir()
        before = files_in(".")
        ran = omni("journal", place)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert ran.err.startswith(f"error: {place}: there is no ")
        assert (files_in("."), files_in("empty")) == (before, [])

    def test_no_journal_at_all(self, omni):
        """A file of something else is told so and left as it is."""
        Path("x.sqlite3").write_bytes(b"something else" * 100)
        ran = omni("journal", "x.sqlite3")
        assert ran.code == 1
        assert "is damaged" in ran.err
        assert files_in(".") == [".state", "x.sqlite3"] or files_in(".") == ["x.sqlite3"]

    def test_looking_makes_no_file(self, omni, folder):
        """The folder is afterwards what it was."""
        before = files_in(folder)
        omni("journal", folder)
        omni("journal", folder, "a")
        assert files_in(folder) == before

    def test_while_a_batch_writes(self, omni, folder):
        """A batch that holds the folder and is in the middle of a commit is not disturbed, and disturbs nobody."""
        path = (folder / "journal.sqlite3").absolute()
        owner, ledger = Ownership(path, exclusive=True), Ledger(open_journal(path))
        ledger.begin()
        ledger.unstored("a", State.SUCCEEDED, "being written")
        assert omni("journal", folder, "--json").json[0]["state"] == "DONE"
        ledger.commit()
        assert omni("journal", folder, "--json").json[0]["state"] == "SUCCEEDED"
        ledger.connection.close()
        owner.release()

    def test_many_rows_are_written_as_they_are_read(self, monkeypatch, omni, book):
        """No row is held until the next one is read: a million of them take no memory."""
        for number in range(30):
            book(str(number), "SUBMITTED", task_id=f"t{number}")
        alive = []
        real = rowtext.document
        monkeypatch.setattr("omni_async.cli.journal.document", lambda entry: alive.append(entry.key) or real(entry))
        from omni_async.cli.journal import as_list

        ledger = Ledger(open_journal(Path("own.sqlite3"), read_only=True))
        lines = as_list(ledger.entries())
        assert next(lines) == "["
        assert alive == []
        assert next(lines).startswith('  {"id": "0"')
        assert alive == ["0"]
        text = "\n".join(["[", *lines])
        assert len(json.loads(text)) == 29
        ledger.connection.close()

    def test_a_reader_that_leaves(self, folder):
        """`… | head -1` is not an error."""
        words = " ".join(command("journal", folder.absolute(), "--json"))
        ran = subprocess.run(
            ["sh", "-c", f"{words} | head -1"], capture_output=True, text=True, env=environment(), timeout=PATIENCE
        )
        assert (ran.stdout, ran.stderr) == ("[\n", "")


class TestTable:
    """On a terminal."""

    def shown(self, monkeypatch, entries, columns):
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))
        return list(rowtext.table(entries))

    def entries(self, book):
        book("猫" * 30, "SUBMITTED", task_id="task_" + "0" * 30)
        book("b", detail="the connection was lost before an answer came", candidate="task_9")
        ledger = Ledger(open_journal(Path("own.sqlite3"), read_only=True))
        found = list(ledger.entries())
        ledger.connection.close()
        return found

    @pytest.mark.parametrize("columns", [40, 80, 120, 200])
    def test_it_fits(self, monkeypatch, book, columns):
        """No line is wider than the screen, also with wide letters; id and state are always there."""
        lines = self.shown(monkeypatch, self.entries(book), max(columns, 60))
        assert all(rowtext.cell_len(line) <= max(columns, 60) for line in lines)
        assert lines[0].split()[:2] == ["ID", "STATE"]
        assert "submitted" in lines[1]
        assert "uncertain" in lines[2]
        assert columns < 80 or "task_9?" in lines[2]
        if columns == 200:
            assert "the connection was" in lines[2]

    def test_rows_far_below_are_not_cut(self, monkeypatch, book):
        """Longer ids and the first detail behind the rows that were measured get their room."""
        entry = self.entries(book)[1]
        short = attrs.evolve(entry, key="s1", detail=None)
        lines = self.shown(monkeypatch, [short] * rowtext.SEEN + [attrs.evolve(entry, key="scene-000201")], 160)
        assert lines[-1].split()[0] == "scene-000201"
        assert lines[-1].endswith("the connection was lost before an answer came")

    def test_no_rows_no_head(self, monkeypatch):
        """Nothing is nothing."""
        assert self.shown(monkeypatch, [], 80) == []


class TestOneRow:
    """A row and its evidence."""

    def test_for_people(self, omni, folder):
        """What is known of it, what came back when, and how to settle it."""
        ran = omni("journal", folder, "c")
        assert ran.code == 0
        assert "state       UNCERTAIN\n" in ran.out
        assert "  status    200\n" in ran.out
        assert "    <!DOCTYPE html>" in ran.out
        assert "omni-async settle shots c --task-id T | --not-charged | --pay-again" in ran.err

    def test_by_its_task(self, omni, folder):
        """A task id, as a bill shows it, finds the row."""
        task_id = omni("journal", folder, "a", "--json").json["task_id"]
        assert omni("journal", folder, task_id, "--json").json["id"] == "a"

    def test_as_json(self, omni, folder):
        """Everything, bodies as they came."""
        row = omni("journal", folder, "c", "--json").json
        (record,) = row["records"]
        assert (row["state"], record["what"], record["status"]) == ("UNCERTAIN", "answer", 200)
        assert record["body"].startswith("<!DOCTYPE html>")

    def test_long_and_odd_bodies(self, omni, book):
        """A screen gets the beginning, without what steers it; --json all of it, in base64 if it is not text."""
        book("long", status=502, body=b"<p>\x1b[2Jno</p>\n" * 500)
        book("odd", status=502, body=b"\xff\x00")
        ran = omni("journal", "own.sqlite3", "long")
        assert ran.out.count("\n") < 40
        assert "all of it with --json" in ran.out
        (record,) = omni("journal", "own.sqlite3", "long", "--json").json["records"]
        assert len(record["body"]) == 500 * 14
        (record,) = omni("journal", "own.sqlite3", "odd", "--json").json["records"]
        assert base64.b64decode(record["body_base64"]) == b"\xff\x00"

    def test_an_unknown_one(self, omni, folder):
        """One line."""
        ran = omni("journal", folder, "zzz")
        assert (ran.code, ran.err) == (1, "error: there is no row 'zzz' in this journal\n")


class TestExport:
    """Rows to files."""

    def test_jsonl(self, omni, folder):
        """A line a row, readable by its owner alone."""
        assert omni("journal", folder, "--export", "rows.jsonl", "--state", "done").out == "rows.jsonl\n"
        (row,) = map(json.loads, Path("rows.jsonl").read_text().splitlines())
        assert tuple(row) == COLUMNS
        assert Path("rows.jsonl").stat().st_mode & 0o777 == 0o600

    def test_csv(self, omni, book):
        """For spreadsheets: a BOM, a header, and nothing that one would compute."""
        book("a", detail="=cmd()")
        book("b", detail="＝cmd()")
        omni("journal", "own.sqlite3", "--export", "rows.CSV")
        text = Path("rows.CSV").read_text("utf-8")
        assert text.startswith("\ufeffid,custom_id,")
        row, other = csv.DictReader(text.removeprefix("\ufeff").splitlines())
        assert (row["detail"], other["detail"]) == ("'=cmd()", "'＝cmd()")
        assert json.loads(row["request"]) == {"prompt": "x"}

    def test_stdout(self, omni, folder):
        """`-` is stdout, a line a row."""
        assert len(list(map(json.loads, omni("journal", folder, "--export", "-").out.splitlines()))) == 3

    def test_another_ending(self, omni, folder):
        """What is neither is a usage error."""
        ran = omni("journal", folder, "--export", "rows.xlsx")
        assert (ran.code, files_in(".").count("rows.xlsx")) == (2, 0)
        assert ".jsonl or .csv" in ran.err

    def test_a_place_that_cannot_be_written(self, omni, folder):
        """One line."""
        ran = omni("journal", folder, "--export", "none/rows.csv")
        assert (ran.code, ran.err.count("\n")) == (1, 1)

    @pytest.mark.parametrize(
        "words",
        [["a", "--export", "-"], ["--prune", "1", "--export", "-"], ["a", "--state", "done"], ["a", "--prune", "1"]],
    )
    def test_one_thing_at_a_time(self, omni, folder, words):
        """Options that are different things to do exclude each other."""
        assert omni("journal", folder, *words).code == 2


class TestPrune:
    """Forgetting."""

    def test_what_ended_long_ago(self, omni, book):
        """Only that: what runs or is uncertain stays."""
        book("rejected", "REJECTED")
        book("running", "SUBMITTED", task_id="t")
        book("uncertain")
        assert omni("journal", "own.sqlite3", "--prune", "10000").out == "0 rows forgotten\n"
        assert omni("journal", "own.sqlite3", "--prune", "30", "--json").json == {"pruned": 1}
        assert [row["id"] for row in omni("journal", "own.sqlite3", "--json").json] == ["running", "uncertain"]

    def test_a_batchs_is_not(self, omni, folder):
        """Its rows are what keeps them from being paid again."""
        ran = omni("journal", folder, "--prune", "0")
        assert ran.code == 1
        assert "it is not pruned" in ran.err

    def test_not_while_a_batch_has_it(self, omni, book):
        """Somebody who works with it alone keeps everybody out."""
        owner = Ownership(Path("own.sqlite3").absolute(), exclusive=True)
        ran = omni("journal", "own.sqlite3", "--prune", "1")
        owner.release()
        assert ran.code == 1
        assert "in use by another process" in ran.err


class TestSettle:
    """The answer."""

    @pytest.mark.parametrize("words", [[], ["--not-charged", "--pay-again"], ["--task-id", "t", "--pay-again"]])
    def test_exactly_one_answer(self, omni, folder, words):
        """None and two are usage errors."""
        ran = omni("settle", folder, "c", *words)
        assert (ran.code, ran.err) == (2, "error: say one of --task-id T | --not-charged | --pay-again\n")

    def test_with_its_task(self, omni, folder):
        """The row has its task, the results no longer call it uncertain, and the next run is named."""
        assert "uncertain" in (folder / "results.jsonl").read_text()
        ran = omni("settle", folder, "c", "--task-id", "task_1")
        assert (ran.code, ran.out) == (0, "c: submitted\n")
        assert (
            ran.err == "the task is followed by the next run: omni-async batch --out shots --gateway jimmy --emulator\n"
        )
        assert [json.loads(line)["id"] for line in (folder / "results.jsonl").read_text().splitlines()] == ["a", "b"]
        assert "uncertain" not in (folder / "results.csv").read_text()
        records = omni("journal", folder, "c", "--json").json["records"]
        assert records[-1]["detail"] == "settled by a person: it is this task"

    @pytest.mark.parametrize(
        ("word", "told"), [("--not-charged", "which pays: "), ("--pay-again", "which may pay a second time: ")]
    )
    def test_to_be_sent(self, omni, folder, word, told):
        """It is sent by the next run, and what that costs is said."""
        ran = omni("settle", folder, "c", word, "--json")
        assert ran.json["state"] == "PLANNED"
        assert told + "omni-async batch --out shots" in ran.json["next"]
        assert omni("journal", folder, "c", "--json").json["state"] == "PLANNED"

    def test_a_task_that_is_not_to_be_seen(self, omni, book):
        """It says so, and is settled as an uncertain row is."""
        book("a", "SUBMITTED", task_id="t-a")
        with contextlib.closing(open_journal(Path("own.sqlite3"))) as connection:
            Ledger(connection).unfollowed("jimmy", "t-a", "no such task")
        shown = omni("journal", "own.sqlite3", "a")
        assert "cannot be followed: no such task" in shown.out
        assert "nothing is to be seen of its task" in shown.err
        assert "omni-async settle own.sqlite3 a" in shown.err
        assert omni("settle", "own.sqlite3", "a", "--pay-again", "--json").json["state"] == "PLANNED"

    def test_what_is_not_uncertain(self, omni, folder):
        """One line, and nothing is changed."""
        ran = omni("settle", folder, "a", "--not-charged")
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == "error: row 'a' is DONE, not UNCERTAIN: there is nothing to settle\n"
        assert omni("settle", folder, "zzz", "--not-charged").code == 1
        assert omni("settle", "nowhere", "a", "--not-charged").code == 2

    def test_an_impossible_task_id(self, omni, folder):
        """What cannot be an id is a usage error."""
        assert omni("settle", folder, "c", "--task-id", " ").code == 2

    def test_another_rows_task(self, omni, folder):
        """A task has one row."""
        task_id = omni("journal", folder, "a", "--json").json["task_id"]
        ran = omni("settle", folder, "c", "--task-id", task_id)
        assert ran.code == 1
        assert "belongs to another row" in ran.err

    def test_a_running_batch_refuses(self, omni, folder):
        """Its journal is its own while it runs."""
        owner = Ownership((folder / "journal.sqlite3").absolute(), exclusive=True)
        ran = omni("settle", folder, "c", "--not-charged")
        owner.release()
        assert ran.code == 1
        assert "in use by another process" in ran.err

    def test_right_after_a_crash(self, omni, book):
        """A create that a dead process left on its way can be settled at once; that of a living one cannot."""
        living = Ownership(Path("own.sqlite3").absolute(), exclusive=False)
        book("lost", "SUBMITTING", owner="dead")
        book("sending", "SUBMITTING", owner=living.name)
        ran = omni("settle", "own.sqlite3", "lost", "--not-charged")
        assert (ran.code, ran.out) == (0, "lost: planned\n")
        assert ran.err == "submitting it again with this id sends it, which pays\n"
        assert "is SUBMITTING, not UNCERTAIN" in omni("settle", "own.sqlite3", "sending", "--not-charged").err
        living.release()

    def test_a_row_of_another_gateway(self, omni, book):
        """A client's journal holds several gateways' rows, and each can be settled."""
        book("a", "SUBMITTING", gateway="toapis")
        ran = omni("settle", "own.sqlite3", "a", "--task-id", "t")
        assert ran.code == 0
        assert ran.err == "the task is followed by the next client of this journal\n"


def test_on_a_terminal_the_table_is_in_columns(folder):
    """In a real terminal the ids stand under their head."""
    primary, replica = pty.openpty()
    process = subprocess.Popen(
        command("journal", folder.absolute()), stdin=replica, stdout=replica, stderr=subprocess.DEVNULL,
        env=environment(COLUMNS="80"),
    )  # fmt: skip
    os.close(replica)
    text, deadline = b"", time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            text += os.read(primary, 65536)
        except OSError:
            break
    assert process.wait(PATIENCE) == 0
    os.close(primary)
    head, first = text.decode().splitlines()[:2]
    assert head.startswith("ID  STATE      TASK ")
    assert first.startswith("a   done       task_")


def test_both_stand_in_the_help(omni):
    """Under a heading of their own."""
    assert {"journal", "settle"} <= {command.name or command.callback.__name__ for command in app.registered_commands}
    assert "What was paid" in omni("--help").out
