"""`batch`: every video of a sheet, from its plan to its exit code, and each way it can be ended."""

import contextlib
import csv
import fcntl
import json
import os
import pty
import select
import shlex
import signal
import sqlite3
import subprocess
import termios
import time
from pathlib import Path

import attrs
import pytest

from omni_async.batch import Prices, Summary
from omni_async.batch.folder import Folder
from omni_async.cli import batchjob
from omni_async.cli.batchjob import check_begun, code_of, told
from omni_async.cli.exits import UsageError, in_options, lines_of
from omni_async.errors import Fault, InvalidRequestError
from omni_async.journal import State
from omni_async.journal.owners import Ownership

from .conftest import PATIENCE, command, environment, until
from .test_emulate import interrupt

PROMPT = "a cat nobody else may read about"


def sheet(count=3, name="shots.csv", **columns):
    """A sheet of as many rows."""
    with Path(name).open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "prompt", *columns])
        for number in range(1, count + 1):
            values = (value(number) if callable(value) else value for value in columns.values())
            out.writerow([f"r{number}", f"{PROMPT} {number}", *values])
    return name


@pytest.fixture
def batch(omni, gateway):
    """Run a batch against a gateway that goes on between runs."""
    running = []

    def start(**scenario):
        running.append(gateway(**scenario))

    def run(*words, **scenario):
        if scenario or not running:
            start(**scenario)
        ran = omni("batch", *words, "--base-url", running[-1].url, "--poll", "0.05")
        assert PROMPT not in ran.out + ran.err
        return ran

    run.start = start
    run.ledger = lambda: running[-1].emulator.ledger
    run.url = lambda: running[-1].url
    return run


def states(folder="shots"):
    return {row["id"]: row["status"] for row in map(json.loads, Path(folder, "results.jsonl").read_text().splitlines())}


class TestTheWay:
    """A sheet that works."""

    def test_a_sheet(self, batch):
        """The plan and the sums are on stderr, the folder is all of stdout, and the videos lie in it."""
        ran = batch(sheet())
        assert (ran.code, ran.out) == (0, "shots\n")
        assert ran.err.startswith("3 new\nto pay: 3 videos\n  3 × text-to-video ")
        assert ran.err.endswith("\n3 done\n3 videos paid over all runs\n")
        assert states() == dict.fromkeys(("r1", "r2", "r3"), "succeeded")
        assert all(Path("shots/videos", f"r{number}.mp4").exists() for number in (1, 2, 3))

    def test_again_pays_nothing(self, batch):
        """The same command says that there is nothing to pay."""
        batch(sheet())
        again = batch("shots.csv")
        assert again.code == 0
        assert "nothing to pay\n" in again.err
        assert len(batch.ledger().charges) == 3

    def test_as_json(self, batch):
        """One document with the sums."""
        ran = batch(sheet(), "--json")
        assert {name: ran.json[name] for name in ("folder", "done", "failed", "uncertain", "unsent")} == {
            "folder": "shots", "done": 3, "failed": 0, "uncertain": 0, "unsent": 0
        }  # fmt: skip
        assert ran.json["states"] == {"DONE": 3}
        assert (ran.json["paid"], ran.json["cost"]) == (3, None)

    def test_quiet(self, batch):
        """-q says nothing when all went well, and the rest when not."""
        assert batch(sheet(), "-q").err == ""
        ran = batch(sheet(4), "-q", "--retry-failed", faults=[{"kind": "fail"}])
        assert ran.code == 1
        assert ran.err.startswith("3 done · 1 failed\n")

    @pytest.mark.parametrize("word", ["--output", "--out", "-o"])
    def test_the_folder_has_the_option_that_every_output_has(self, batch, word):
        """As in generate and wait, and by its shorter name."""
        assert batch(sheet(1), word, "elsewhere").out == "elsewhere\n"

    def test_what_is_doubtful_is_told_even_quietly(self, batch):
        """A warning is no progress."""
        Path("shots.csv").write_text("prompt,model,duration\na cat,omni-10s,4\na dog,omni-10s,4\n")
        assert batch("shots.csv", "-q").err == "warning: lines 2, 3: duration: omni-10s ignores it and bills 10 s\n"

    def test_a_limit_leaves_rows_for_the_next_run(self, batch):
        """Rows that were not sent are exit code 4, and the line that is told sends them."""
        ran = batch(sheet(), "--limit", "1", "-o", "my shots")
        assert ran.code == 4
        assert "1 done · 2 not sent\n1 video paid over all runs\nstopped: --limit 1 is reached\n" in ran.err
        line = f"to go on: omni-async batch shots.csv --out 'my shots' --gateway jimmy --base-url {batch.url()}"
        assert ran.err.endswith(f"{line} --limit 1 --poll 0.05\n")
        assert batch("--out", "my shots").code == 0

    def test_the_line_that_goes_on_keeps_every_bound(self, batch):
        """Pasted, it pays no more than was allowed, and reads the sheet as it was read."""
        Path("my prices.json").write_text('{"*": 2}')
        money = ["--limit", "9", "--prices", "my prices.json", "--max-cost", "2.5", "--concurrency", "2"]
        bounds = ["--encoding", "utf-8", "--skip-bad", *money, "--stop-after-failures", "3", "--timeout", "60"]
        ran = batch(sheet(), *bounds, "--retry-failed")
        assert ran.code == 4
        assert "stopped: --max-cost 2.5 is reached" in ran.err
        line = ran.err.splitlines()[-1].partition("to go on: ")[2]
        assert line.endswith(f"{shlex.join(bounds)} --poll 0.05")
        assert batch(*shlex.split(line)[2:]).code == 4

    def test_rows_that_are_still_to_be_paid_again(self, batch):
        """Exit code 4, what they are, and a line with the option that pays for them; without it nothing is paid."""
        batch(sheet())
        Path("shots.csv").write_text(Path("shots.csv").read_text().replace("about", "about again"))
        ran = batch("shots.csv", "--redo-edited", "--limit", "1")
        assert ran.code == 4
        assert ran.err.startswith("3 edited after paying: to be paid again\nto pay: 1 of 3 videos (--limit 1)\n")
        assert (
            "3 done\n4 videos paid over all runs\n2 to be paid again, not sent: they stay as they were\n"
            "stopped: --limit 1 is reached\n" in ran.err
        )
        line = ran.err.splitlines()[-1].partition("to go on: ")[2]
        assert line.endswith(" --limit 1 --poll 0.05 --redo-edited")
        assert batch("shots.csv").code == 0
        assert len(batch.ledger().charges) == 4
        assert batch(*shlex.split(line)[2:]).code == 4
        assert batch(*shlex.split(line)[2:], "--json").json["put_off"] == {}
        assert len(batch.ledger().charges) == 6

    def test_failed_rows(self, batch):
        """Code 1, and where to read why."""
        ran = batch(sheet(), faults=[{"kind": "fail", "prompt": "about 2"}])
        assert ran.code == 1
        assert "2 done · 1 failed\n" in ran.err
        assert "why they failed: omni-async journal shots --state failed,rejected,expired,canceled\n" in ran.err

    def test_rows_that_could_not_be_stored(self, batch, omni):
        """Paid and made: they stand as succeeded, not as failed, and a line shows why they were not stored."""
        assert batch(sheet()).code == 0
        (video,) = Path("shots/videos").glob("*2*.mp4")
        video.write_bytes(b"somebody's own")
        ran = batch(sheet())
        assert ran.code == 1
        assert "2 done · 1 not stored\n" in ran.err
        (hint,) = (line for line in ran.err.splitlines() if line.startswith("why "))
        assert hint.startswith("why they were not stored, which the next run tries again: ")
        assert "not stored: " in omni(*shlex.split(hint.partition(": ")[2])[1:]).out

    def test_uncertain_rows(self, batch):
        """Code 3, before that of failed ones, and the lines that show and settle them."""
        ran = batch(sheet(), faults=[{"kind": "html_200", "prompt": "about 1"}, {"kind": "fail", "prompt": "about 2"}])
        assert ran.code == 3
        assert "1 row may have been paid and has no task id: omni-async journal shots --state uncertain" in ran.err
        assert "omni-async settle shots ID --task-id T | --not-charged | --pay-again\n" in ran.err

    def test_uncertain_rows_that_have_left_the_sheet(self, batch, omni):
        """They may have been paid all the same: code 3, and their names; settled, only a sheet has them sent."""
        assert batch(sheet(2), faults=[{"kind": "html_200", "prompt": "about 2"}]).code == 3
        ran = batch(sheet(1))
        assert ran.code == 3
        assert "1 done · 1 uncertain\n" in ran.err
        assert "1 row may have been paid and has no task id: omni-async journal shots --state uncertain" in ran.err
        assert "no longer in the sheet: r2\n" in ran.err
        ran = omni("settle", "shots", "r2", "--not-charged")
        assert "no longer in the sheet, so no run sends it" in ran.err
        assert "which pays: omni-async batch SHEET --out shots --gateway jimmy" in ran.err
        ran = batch("--out", "shots")
        assert (ran.code, "no longer in the sheet: " in ran.err) == (0, False)
        ran = batch(sheet(2), faults=[])
        assert (ran.code, "2 done\n" in ran.err) == (0, True)

    def test_stdin(self, batch):
        """`-` reads stdin, and the folder alone goes on."""
        batch.start()
        words = ("batch", "-", "--out", "other", "--base-url", batch.url(), "--poll", "0.05", "--limit", "1")
        process = subprocess.run(
            command(*words),
            input='{"prompt": "one"}\n{"prompt": "two"}\n', capture_output=True, text=True, timeout=PATIENCE,
            env=environment(),
        )  # fmt: skip
        assert process.returncode == 4
        assert "to go on: omni-async batch --out other --gateway jimmy" in process.stderr
        assert batch("--out", "other").code == 0
        batch(sheet(1), "--out", "other")
        process = subprocess.run(
            command(*words[:-1], "0", "--redo-edited"), input='{"id": "r1", "prompt": "x"}\n', text=True,
            capture_output=True, timeout=PATIENCE, env=environment(),
        )  # fmt: skip
        assert "to go on: omni-async batch - --out other --gateway jimmy" in process.stderr

    def test_a_reader_that_leaves_ends_nothing(self, batch):
        """Stdout closed early: the videos are made all the same."""
        batch.start()
        sheet(2)
        words = " ".join(command("batch", "shots.csv", "--base-url", batch.url(), "--poll", "0.05", "--json"))
        subprocess.run(["sh", "-c", f"{words} | true"], stderr=subprocess.DEVNULL, env=environment(), timeout=PATIENCE)
        assert states() == {"r1": "succeeded", "r2": "succeeded"}

    def test_test_videos_are_kept_apart(self, omni, batch, scenario):
        """With --emulator the folder has a name of its own, and neither kind is taken for the other."""
        tried = omni("batch", sheet(2), "--emulator", "--scenario", scenario())
        assert (tried.code, tried.out) == (0, "shots-emulator\n")
        assert "to pay: 2 videos" in batch("shots.csv").err
        mixed = batch("shots.csv", "-o", "shots-emulator")
        assert mixed.code == 2
        assert "was begun with the emulator: its videos are test pictures" in mixed.err
        assert "name another folder with --out" in mixed.err
        with pytest.raises(UsageError, match=r"name another folder$"):  # for a fleet, which has no --out
            check_begun(Folder(Path("shots-emulator")), gateway="jimmy", emulator=False, own=False)
        other = omni("batch", "shots.csv", "-o", "shots", "--emulator", "--scenario", scenario())
        assert other.code == 2
        assert "was begun without the emulator" in other.err

    def test_what_an_emulator_was_making_when_it_ended_is_sent_anew(self, omni, scenario):
        """The next one knows nothing of it; nothing was paid, and the row's history tells it."""
        words = ("batch", sheet(3), "--emulator", "--scenario", scenario())
        omni(*words)
        with contextlib.closing(sqlite3.connect("shots-emulator/journal.sqlite3")) as journal:
            journal.execute("UPDATE item SET state = 'SUBMITTED' WHERE key = 'r1'")
            journal.execute("UPDATE item SET state = 'SUCCEEDED' WHERE key = 'r2'")
            journal.commit()
        for number in (1, 2):
            Path(f"shots-emulator/videos/r{number}.mp4").unlink()
        ran = omni(*words)
        assert ran.code == 0
        assert ran.err.startswith(
            "2 tasks ended with the emulator of the last run: sent anew, nothing was paid\n1 done · 2"
        )
        assert "the emulator that made it has ended" in omni("journal", "shots-emulator", "r1").out
        assert "sent anew" not in omni(*words).err

    def test_what_a_gateway_is_making_is_never_sent_anew(self, batch):
        """Only an emulator of the command's own forgets."""
        batch(sheet(1))
        with contextlib.closing(sqlite3.connect("shots/journal.sqlite3")) as journal:
            journal.execute("UPDATE item SET state = 'SUBMITTED'")
            journal.commit()
        Path("shots/videos/r1.mp4").unlink()
        assert batch("shots.csv").code == 0
        assert len(batch.ledger().charges) == 1


class TestDryRun:
    """The plan alone."""

    def test_it_needs_no_key_and_makes_nothing(self, omni, monkeypatch):
        """The plan is the result; there is no folder afterwards."""
        monkeypatch.delenv("JIMMYAI_API_KEY")
        ran = omni("batch", sheet(), "--dry-run")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith("3 new\nto pay: 3 videos\n")
        assert ran.out.endswith("dry run: nothing was sent or entered\n")
        assert not Path("shots").exists()

    def test_as_json(self, omni):
        """One document."""
        plan = omni("batch", sheet(), "--dry-run", "--json").json
        assert (plan["to_pay"], plan["new"], plan["bad"]) == (3, 3, 0)

    def test_what_it_costs(self, omni):
        """Prices times counts; a bound without prices is refused."""
        Path("prices.json").write_text('{"*": 0.5}')
        assert "cost: 1.50" in omni("batch", sheet(), "--dry-run", "--prices", "prices.json").out
        ran = omni("batch", "shots.csv", "--max-cost", "1")
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "--prices FILE" in ran.err

    def test_a_guessed_encoding_is_shown(self, omni):
        """With the first prompt as it was read, in brief; not where it was named, or is not a guess."""
        rows = "id,prompt,镜头\n1,a cat,一\n2,夕阳下的渔船缓缓驶过港口，电影感镜头\n3,小猫走在雨夜里\n"
        Path("shots.csv").write_bytes(rows.encode("gb18030"))
        guess = "sheet: read as GB18030: “夕阳下的渔船缓缓驶过港口，电影感镜头”"
        assert f"warning: {guess}\n" in omni("batch", "shots.csv", "--dry-run").out
        assert omni("batch", "shots.csv", "--dry-run", "--json").json["warnings"] == [guess]
        assert "read as" not in omni("batch", "shots.csv", "--dry-run", "--encoding", "gb18030").out
        Path("shots.csv").write_text(rows, "utf-8")
        assert "read as" not in omni("batch", "shots.csv", "--dry-run").out

    def test_faults_as_json(self, omni):
        """A program gets each fault with its line."""
        ran = omni("batch", sheet(2, duration=7), "--dry-run", "--json")
        assert ran.code == 2
        assert [fault[:18] for fault in ran.json["error"]["faults"]] == ["line 2: duration: ", "line 3: duration: "]
        assert ran.json["error"]["message"] == "nothing was sent: 2 faults on 2 lines of the sheet"
        Path("shots.csv").write_text("prompt\ncat,dog\n")
        ran = omni("batch", "shots.csv", "--dry-run", "--json")
        assert ran.json["error"]["faults"][0].startswith("line 2: has 2 cells")
        assert ran.json["error"]["message"] == "nothing was sent: 1 fault on 1 line of the sheet"


class TestRefused:
    """What is refused before anything is made or sent."""

    def test_faults_have_their_lines(self, omni):
        """Every fault of every line, and none of the prompts."""
        ran = omni("batch", sheet(3, duration=lambda number: 7 if number != 2 else 6, resolution="99p"), "--emulator")
        assert (ran.code, ran.out) == (2, "")
        lines = ran.err.splitlines()
        assert lines[0] == "error: nothing was sent: 5 faults on 3 lines of the sheet"
        assert lines[1] == "  line 2: duration: 7 is not possible with Gemini-Omini; allowed: 4, 6, 8, 10"
        assert [line[:9] for line in lines[1:]] == ["  line 2:", "  line 2:", "  line 3:", "  line 4:", "  line 4:"]

    def test_a_thousand_lines_of_them(self, omni):
        """All of them up to 1,000 lines; beyond that, how many there are."""
        ran = omni("batch", sheet(1500, duration=7), "--dry-run")
        lines = ran.err.splitlines()
        assert len(lines) == 1002
        assert lines[-2].startswith("  line 1001: duration: ")
        assert lines[-1] == "  and 500 more lines with faults"

    def test_on_a_terminal_lines_have_a_column_of_their_own(self, monkeypatch):
        """Several faults of a line stand below each other."""
        monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
        faults = (Fault("line 12: duration", "7 is odd", (4, 6)), Fault("line 12: prompt", "required text"),
                  Fault("line 9999", "is not UTF-8"), Fault("line 10000: line", "a quote is never closed"),
                  Fault("file", "and 4 more lines with faults"))  # fmt: skip
        assert lines_of(InvalidRequestError("x", faults=faults)) == [
            "error: nothing was sent: 4 faults on 3 lines of the sheet",
            "  line 12     duration: 7 is odd; allowed: 4, 6",
            "              prompt: required text",
            "  line 9999   is not UTF-8",
            "  line 10000  a quote is never closed",
            "  and 4 more lines with faults",
        ]

    @pytest.mark.parametrize(
        ("words", "line"),
        [
            ([], "name a sheet, or with --out the folder of a batch to go on with; see omni-async batch --help"),
            (["-"], "rows from stdin need a folder for what is made of them: --out DIR"),
            (["none.csv"], "none.csv: there is no such file"),
            ([""], "the name of the sheet is empty"),
            (["folder"], "folder is a folder: to go on with the batch in it, say --out folder"),
        ],
    )
    def test_nothing_to_read(self, omni, words, line):
        """One line says what to do, and nothing is made."""
        Path("folder").mkdir()
        before = sorted(Path().iterdir())
        ran = omni("batch", *words)
        assert (ran.code, ran.err) == (2, f"error: {line}\n")
        assert sorted(Path().iterdir()) == before

    def test_a_folder_without_a_batch(self, omni):
        """--out alone needs one that was begun."""
        ran = omni("batch", "--out", "new", "--dry-run")
        assert ran.code == 2
        assert "holds no batch yet" in ran.err

    def test_no_key(self, omni, monkeypatch):
        """Told before anything is made."""
        monkeypatch.delenv("JIMMYAI_API_KEY")
        ran = omni("batch", sheet())
        assert ran.code == 2
        assert "JIMMYAI_API_KEY" in ran.err
        assert not Path("shots").exists()

    def test_a_batch_of_another_gateway(self, batch, omni, monkeypatch):
        """The line that is told goes on with it, also where only the other key is there."""
        batch(sheet())
        monkeypatch.delenv("JIMMYAI_API_KEY")
        for words in (["shots.csv"], ["--out", "shots"], ["--out", "shots", "--dry-run"]):
            ran = omni("batch", *words, "-g", "toapis")
            assert ran.code == 2
            assert "was begun with jimmy: add --gateway jimmy, or name another folder with --out\n" in ran.err

    def test_a_folder_in_use(self, batch):
        """A second batch on the same folder is told so, and changes nothing."""
        batch(sheet())
        owner = Ownership(Path("shots/journal.sqlite3").absolute(), exclusive=True)
        ran = batch("shots.csv", "--json")
        owner.release()
        assert ran.code == 1
        assert ran.err.startswith("error: ")
        assert ran.err.count("is in use by another process") == 1
        assert ran.json["error"]["type"] == "JournalError"

    def test_a_wrong_key(self, batch):
        """The gateway refuses it: nothing more is sent, and the rows are left for the right one."""
        ran = batch(sheet(), keys=["another"])
        assert ran.code == 4
        assert "stopped: the key is refused" in ran.err


SUM = Summary(folder=Path("x"), states={})


class TestCodes:
    """Exit codes, worst first."""

    @pytest.mark.parametrize(
        ("states", "code"),
        [
            ({}, 0),
            ({State.DONE: 1}, 0),
            ({State.DONE: 1, State.FAILED: 1}, 1),
            ({State.SUCCEEDED: 1}, 1),
            ({State.SUBMITTED: 1}, 1),
            ({State.FAILED: 1, State.PLANNED: 1}, 4),
            ({State.FAILED: 1, State.PLANNED: 1, State.UNCERTAIN: 1}, 3),
            ({State.EXPIRED: 1}, 1),
            ({State.REJECTED: 1}, 1),
        ],
    )
    def test_precedence(self, states, code):
        """Uncertain before unsent before failed."""
        assert code_of(attrs.evolve(SUM, states=states)) == code

    def test_what_is_told_of_nothing(self):
        """A batch without anything to do says so."""
        assert told(SUM, "again") == ["nothing to do"]

    def test_what_was_paid_is_told(self):
        """By all runs, with the price if each kind has one, and what is uncertain apart."""
        prices, kinds = Prices({"4 s": 0.4, "8 s": 0.8}, "￥"), {"text 4 s": 3, "text 8 s": 6}
        summary = attrs.evolve(SUM, states={State.UNCERTAIN: 1}, paid_kinds=kinds, prices=prices)
        assert told(summary, "again")[1] == "9 videos paid over all runs, about 6.00 ￥; 1 uncertain"
        summary = attrs.evolve(SUM, paid_kinds={"text 10 s": 1}, prices=prices)
        assert told(summary, "again")[1] == "1 video paid over all runs"

    def test_what_is_told_of_answers_that_the_journal_could_not_take(self):
        """Where they are and what to do; nobody is sent to the gateway's console for a task whose id is known."""
        summary = attrs.evolve(SUM, states={State.SUBMITTED: 2}, noted=(Path("tmp dir/j.lost.jsonl"),))
        counts, noted, again = told(summary, "again")
        assert counts == "2 still under way"
        assert "noted, their task ids with them, in 'tmp dir/j.lost.jsonl': keep it, free space on the disk" in noted
        assert again == "to go on: again"

    def test_the_rows_that_may_have_been_paid_are_those_that_the_command_lists(self):
        """Also where one was never answered, and no disk took a word of it."""
        summary = attrs.evolve(SUM, states={State.UNCERTAIN: 1, State.SUBMITTING: 1})
        assert "2 rows may have been paid and have no task id: omni-async journal " in told(summary, "again")[1]
        assert " --state uncertain; " in told(summary, "again")[1]


class TestWords:
    """What the library calls an argument is an option here."""

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("limit=5 is reached", "--limit 5 is reached"),
            ("max_cost=0.3 is reached", "--max-cost 0.3 is reached"),
            ("max_cost=1e+06 is reached", "--max-cost 1e+06 is reached"),
            ("kept (redo_edited=True pays again)", "kept (--redo-edited pays again)"),
            ("or overwrite=True。", "or --overwrite。"),
            ("encoding='utf-8' or encoding='gb18030'", "--encoding utf-8 or --encoding gb18030"),
            ("generation_type=frame, time_limit=5, limit=", "generation_type=frame, time_limit=5, limit="),
        ],
    )
    def test_arguments_are_told_as_options(self, text, told):
        """With their values; nothing else is changed."""
        assert in_options(text) == told

    def test_each_sentence_of_a_batch(self, omni):
        """The plan, why it stopped, its document, and a sheet's faults."""
        sheet(2)
        ran = omni("batch", "shots.csv", "--emulator", "--limit", "1", "--json", "--progress", "plain")
        assert "to pay: 1 of 2 videos (--limit 1)\n" in ran.err
        assert "stopped: --limit 1 is reached\n" in ran.err
        assert ran.json["stopped"] == "--limit 1 is reached"
        assert "limit=" not in ran.err
        Path("odd.csv").write_bytes("prompt\né\n".encode("latin-1"))
        ran = omni("batch", "odd.csv", "--dry-run", "--json")
        assert "name the encoding: --encoding utf-8, " in ran.err
        assert "name the encoding: --encoding utf-8, " in ran.json["error"]["faults"][0]


class TestEnded:
    """Ctrl-C and SIGTERM."""

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_while_it_runs(self, batch, number, code):
        """No more is sent, what runs is left at the gateway, and the line that resumes is told and does."""
        batch.start(task_seconds=1.5)
        interrupt(number, once=lambda: batch.ledger().requests["query"])
        ran = batch(sheet(), "--concurrency", "1")
        assert ran.code == code
        assert "stopping: creates in flight are waited for; once more leaves at once\n" in ran.err
        assert "2 not sent · 1 still under way\n1 video paid over all runs\nto go on: " in ran.err
        assert "to go on: omni-async batch shots.csv --out shots" in ran.err
        assert batch("--out", "shots").code == 0
        assert len(batch.ledger().charges) == 3

    def test_a_create_in_flight_is_waited_for(self, batch):
        """Its task is under way for the next run, which is no matter for a warning."""
        batch.start(faults=[{"kind": "hang", "seconds": 0.8, "charged": True}])
        interrupt(once=lambda: batch.ledger().charges)
        ran = batch(sheet(1))
        assert ran.code == 130
        assert "warning" not in ran.err
        assert "\n1 still under way\n1 video paid over all runs\nto go on: " in ran.err

    def test_with_nothing_left_it_is_no_interruption(self, monkeypatch, batch):
        """A signal that comes when all is done changes nothing."""
        real = batchjob.Batch.run

        async def run_and_stop(work):
            summary = await real(work)
            os.kill(os.getpid(), signal.SIGTERM)
            import asyncio

            await asyncio.sleep(5)
            return summary

        monkeypatch.setattr(batchjob.Batch, "run", run_and_stop)
        ran = batch(sheet())
        assert (ran.code, ran.out) == (0, "shots\n")

    def test_twice(self, started, batch):
        """The second leaves without waiting, and says what that may mean."""
        batch.start(faults=[{"kind": "hang", "seconds": 300, "charged": True}])
        process = started("batch", sheet(), "--base-url", batch.url())
        until(lambda: batch.ledger().charges)
        process.send_signal(signal.SIGINT)
        while not process.stderr.readline().startswith("stopping"):
            pass
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
        assert time.monotonic() - began < 10
        assert process.returncode == 130
        assert err.startswith(
            "left at once: creates in flight may have been charged; the next run shows them as uncertain\n"
            "to go on: omni-async batch shots.csv --out shots"
        )

    def test_while_a_pipe_gives_nothing(self, batch):
        """A sheet that never ends does not hold whoever leaves: nothing was sent."""
        batch.start()
        reading, writing = os.pipe()
        process = subprocess.Popen(
            command("batch", "-", "--out", "other", "--base-url", batch.url()),
            stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
        )  # fmt: skip
        until(lambda: Path("other/journal.sqlite3").exists())
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        os.close(reading)
        os.close(writing)
        assert (process.returncode, out) == (130, "")
        assert err == "stopping; once more leaves at once\nleft; nothing was sent\n"


def test_without_stdin(batch):
    """Where there is none, rows cannot come from it, and nobody can be asked."""
    batch.start()
    words = ("batch", sheet(1), "--base-url", batch.url(), "--poll", "0.05")
    closed = {"stdin": None, "preexec_fn": lambda: os.close(0), "env": environment(), "timeout": 20, "text": True}
    ran = subprocess.run(command(*words), capture_output=True, **closed)
    assert (ran.returncode, ran.stdout) == (0, "shots\n")
    assert ran.stderr.endswith("1 done\n1 video paid over all runs\n")
    ran = subprocess.run(command("batch", "-", "-o", "x"), capture_output=True, **closed)
    assert (ran.returncode, ran.stderr) == (2, "error: there is no stdin to read rows from\n")


class Terminal:
    """The program on a pseudo terminal, which is its own."""

    def __init__(self, *words, stdin=None):
        self.primary, replica = pty.openpty()
        self.process = subprocess.Popen(
            command(*words), stdin=stdin or replica, stdout=replica, stderr=replica, start_new_session=True,
            env=environment(TERM="xterm-256color"), preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(replica)
        self.text = ""

    def until(self, words, limit=float(PATIENCE)):
        """Read on until these words stand there, or it ends."""
        deadline = time.monotonic() + limit
        while words not in self.text and time.monotonic() < deadline:
            if select.select([self.primary], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.primary, 65536).decode(errors="replace")
                except OSError:
                    break
        return self

    def type(self, letters):
        os.write(self.primary, letters.encode())
        return self

    def ended(self):
        self.until("\0")
        code = self.process.wait(PATIENCE)
        os.close(self.primary)
        return code


class TestTheQuestion:
    """More than a hundred videos on a terminal are asked for first."""

    QUESTION = "Pay for 101 videos? [y/N] "

    @pytest.fixture
    def asked(self, batch):
        sheet(101, name="many.csv")
        batch.start()
        words = ("batch", "many.csv", "--base-url", batch.url(), "--poll", "0.05", "--progress", "plain")
        return Terminal(*words).until(self.QUESTION)

    @pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"])
    def test_no(self, asked, answer, batch):
        """Anything but a yes sends nothing, and rows that were not sent are code 4."""
        assert asked.type(answer).ended() == 4
        assert "101 not sent\r\nstopped: you said no\r\nto go on: omni-async batch many.csv" in asked.text
        assert not batch.ledger().charges

    def test_ctrl_c(self, asked, batch):
        """A Ctrl-C at the question is 130 at once; nothing was sent."""
        asked.process.send_signal(signal.SIGINT)
        assert asked.ended() == 130
        assert not batch.ledger().charges
        assert "101 not sent" in asked.text

    def test_yes(self, asked, batch):
        """A yes begins."""
        asked.type("y\n").until("done")
        assert asked.ended() == 0
        assert len(batch.ledger().charges) == 101

    def test_a_sheet_on_stdin_leaves_the_terminal_for_the_answer(self, batch):
        """The question is put to the terminal itself."""
        batch.start()
        sheet(101, name="many.csv")
        with Path("many.csv").open() as rows:
            asked = Terminal("batch", "-", "--out", "many", "--base-url", batch.url(), stdin=rows)
            assert asked.until(self.QUESTION).type("n\n").ended() == 4
        assert self.QUESTION in asked.text

    def test_rows_can_be_typed(self, batch):
        """A terminal may be the sheet: that it is read is said, and Ctrl-D ends it."""
        batch.start()
        words = ("batch", "-", "-o", "typed", "--base-url", batch.url(), "--poll", "0.05", "--progress", "plain")
        typed = Terminal(*words).until("end them with Ctrl-D\r\n")
        assert typed.type('{"prompt": "a"}\n\x04').ended() == 0
        assert "1 done" in typed.text

    @pytest.mark.parametrize("words", [["--yes"], ["--limit", "100"]])
    def test_not_asked(self, batch, words):
        """--yes, or a hundred at most."""
        batch.start(keys=["another"])
        sheet(101, name="many.csv")
        terminal = Terminal("batch", "many.csv", "--base-url", batch.url(), "--progress", "plain", *words)
        assert terminal.ended() == 4
        assert "[y/N]" not in terminal.text


def test_on_a_terminal_the_picture_lives(batch):
    """Bars are drawn in place, the cursor comes back, the sums stand at the end."""
    batch.start(task_seconds=0.5)
    terminal = Terminal("batch", sheet(3), "--base-url", batch.url(), "--poll", "0.05")
    assert terminal.ended() == 0
    assert "at the gateway" in terminal.text
    assert PROMPT not in terminal.text
    assert "100% of 3" in terminal.text
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")
    assert terminal.text.rstrip().endswith("shots\r\n3 done\r\n3 videos paid over all runs")
