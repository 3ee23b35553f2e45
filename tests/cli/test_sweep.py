"""`sweep`: combinations told before anything is paid, a sheet that `batch` takes, and the batch itself."""

import io
import json
import sys
from pathlib import Path

import pytest

PROMPT = "a cat nobody else may read about"


@pytest.fixture
def sweep(omni):
    """Sweep; the prompt shows where rows are shown, and nowhere else."""

    def run(*words):
        ran = omni("sweep", PROMPT, *words)
        assert PROMPT not in ran.err
        return ran

    return run


def rows_of(text):
    """Rows in lines of JSON."""
    return [json.loads(line) for line in text.splitlines()]


class TestShown:
    """Nothing is written or sent."""

    @pytest.mark.parametrize("words", [[], ["--dry-run"], ["--dry-run", "-o", "cats.jsonl", "--run"]])
    def test_how_many_videos_and_what_is_left_out(self, sweep, words):
        """Counted, listed with the reason, and planned as a batch would."""
        ran = sweep("--model", "omni-10s,gemini-omni", "--duration", "4,7", *words)
        assert ran.code == 0
        name, _, rest = ran.out.partition("\n")
        assert name == "4 combinations · 2 videos · 2 left out"
        assert "  model=gemini-omni duration=7: duration: 7 is not possible with Gemini-Omini; allowed: 4, 6" in rest
        assert "  model=omni-10s duration=7: duration: makes no difference here: the same video as " in rest
        assert "warning: line 1: duration: omni-10s ignores it and bills 10 s\n" in rest
        assert "2 new\nto pay: 2 videos\n" in rest
        assert not list(Path().glob("cats*"))

    def test_with_prices(self, sweep):
        """What it would cost."""
        Path("prices.json").write_text('{"1080p": 2, "*": 1}')
        assert "cost: 6.00\n" in sweep("-d", "4,6", "-r", "720p,1080p", "--prices", "prices.json").out

    def test_as_json(self, sweep):
        """One document with what was refused, the rows, and the plan."""
        told = sweep("-d", "4", "--duration", "7,8", "--json").json
        assert (told["combinations"], told["videos"], told["plan"]["to_pay"]) == (3, 2, 2)
        assert told["refused"] == [
            {"duration": 7, "faults": ["duration: 7 is not possible with Gemini-Omini; allowed: 4, 6, 8, 10"]}
        ]
        assert [row["sweep_duration"] for row in told["rows"]] == [4, 8]

    def test_many_refused_are_cut_for_a_person(self, sweep):
        """The first fifty, and how many more there are."""
        ran = sweep("-d", ",".join(map(str, range(4, 70))))
        assert ran.out.startswith("66 combinations · 4 videos · 62 left out\n")
        assert ran.out.count("is not possible") == 50
        assert "  … and 12 more: --dry-run --json lists them all\n" in ran.out


class TestWritten:
    """A sheet for `batch`."""

    def test_a_file_that_batch_takes(self, sweep, omni):
        """Each row says its combination by its id and its columns; the file is the result."""
        ran = sweep("-d", "4,6", "-a", "16:9,9:16", "-o", "cats.jsonl")
        assert (ran.code, ran.out, ran.err) == (0, "cats.jsonl\n", "4 combinations · 4 videos\n")
        rows = rows_of(Path("cats.jsonl").read_text())
        assert [row["id"].partition("-")[2] for row in rows] == ["4s-16x9", "4s-9x16", "6s-16x9", "6s-9x16"]
        assert rows[0] | {"id": ""} == {
            "id": "", "prompt": PROMPT, "duration": 4, "aspect_ratio": "16:9",
            "sweep_duration": 4, "sweep_aspect_ratio": "16:9",
        }  # fmt: skip
        assert "to pay: 4 videos" in omni("batch", "cats.jsonl", "--dry-run").out

    def test_stdout(self, sweep, omni, monkeypatch):
        """The rows alone, for a pipe."""
        ran = sweep("-d", "4,6", "-o", "-", "-q")
        assert (len(rows_of(ran.out)), ran.err) == (2, "")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(ran.out.encode())))
        assert "to pay: 2 videos" in omni("batch", "-", "--out", "cats", "--dry-run").out

    def test_references_are_found_from_anywhere(self, sweep):
        """A local file becomes absolute, a URL stays; the ids begin as they are told to."""
        Path("a.png").write_bytes(b"picture")
        link = "https://a.example/v.mp4"
        sweep("-r", "720p", "-i", "a.png", "--video", link, "-o", "c.jsonl", "--custom-id", "x", "--extra", "seed=7")
        (row,) = rows_of(Path("c.jsonl").read_text())
        assert (row["image_urls"], row["video_urls"]) == ([str(Path("a.png").absolute())], [link])
        assert (row["id"], row["extra"]) == ("x-720p", {"seed": 7})

    def test_nothing_else_is_overwritten(self, sweep):
        """The same rows may be written again, others only when told to."""
        assert sweep("-d", "4", "-o", "cats.jsonl").code == sweep("-d", "4", "-o", "cats.jsonl").code == 0
        ran = sweep("-d", "6", "-o", "cats.jsonl", "-q")
        assert ran.code == 2
        assert ran.err == "error: cats.jsonl is there already and holds other rows: --overwrite replaces it\n"
        assert rows_of(Path("cats.jsonl").read_text())[0]["duration"] == 4
        assert sweep("-d", "6", "-o", "cats.jsonl", "--overwrite", "--json").json["file"] == "cats.jsonl"
        assert rows_of(Path("cats.jsonl").read_text())[0]["duration"] == 6

    def test_what_is_doubtful_is_told_even_quietly(self, sweep):
        """A warning is no progress."""
        ran = sweep("-m", "omni-10s", "-d", "4", "-o", "cats.jsonl", "-q")
        assert ran.err == "warning: duration: omni-10s ignores it and bills 10 s\n"


class TestRun:
    """On to the batch."""

    def test_the_batch_is_made(self, sweep, gateway):
        """Each valid combination is paid once, its settings are in the results; again, nothing is paid."""
        there = gateway()
        words = ["-d", "4,6,7", "-o", "cats.jsonl", "--run", "--base-url", there.url, "--poll", "0.05"]
        ran = sweep(*words)
        assert (ran.code, ran.out) == (0, "cats\n")
        assert ran.err.startswith("3 combinations · 2 videos · 1 left out\n")
        assert "2 new\nto pay: 2 videos\n" in ran.err
        assert ran.err.endswith("\n2 done\n2 videos paid over all runs\n")
        results = rows_of(Path("cats/results.jsonl").read_text())
        assert sorted(row["sweep_duration"] for row in results) == [4, 6]
        assert all(Path("cats", row["file"]).exists() for row in results)
        assert "nothing to pay" in sweep(*words).err
        assert len(there.emulator.ledger.charges) == 2

    def test_the_batchs_bounds_hold(self, sweep, gateway):
        """--limit, --max-cost and --out are the batch's own, and so is the line that goes on."""
        there = gateway()
        Path("prices.json").write_text('{"*": 1}')
        bounds = ["--limit", "2", "--prices", "prices.json", "--max-cost", "1.5", "--concurrency", "1"]
        ran = sweep("-d", "4,6,8", "-o", "c.jsonl", "--run", "--out", "my cats", *bounds, "--base-url", there.url)
        assert ran.code == 4
        assert "stopped: --max-cost 1.5 is reached" in ran.err
        assert "to go on: omni-async batch c.jsonl --out 'my cats' " in ran.err
        assert len(there.emulator.ledger.charges) == 1

    def test_as_json(self, sweep, scenario):
        """One document: the batch's. Test videos have a folder of their own."""
        words = ["--emulator", "--scenario", scenario(), "--json", "-q"]
        told = sweep("-d", "4,6", "-o", "cats.jsonl", "--run", *words).json
        assert (told["folder"], told["done"]) == ("cats-emulator", 2)
        planned = sweep("-d", "4,6,8", "-o", "cats.jsonl", "--dry-run", "--emulator").out
        assert "2 done · 1 new\nto pay: 1 video\n" in planned


class TestRefused:
    """Usage errors: code 2, nothing written."""

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            (
                ["-d", "4,x,"],
                "  --duration: 'x' is not a whole number of seconds\n  --duration: there is an empty value",
            ),
            (["-d", "4,4"], "--duration: 4 is given twice"),
            (["-d", "7,5"], "error: nothing was sent, none of the 2 combinations is possible:\n  --duration: 7 is not"),
            (["-d", "7"], "error: nothing was sent, it is refused:\n  --duration: 7 is not"),
            (["-i", "nowhere.png", "-d", "4,6"], "nowhere.png cannot be read"),
            (["-d", ",".join(map(str, range(200))), "-m", ",".join(map(str, range(60)))], "  combinations: there are"),
            (["-d", "4", "--run"], "error: --run goes on from a sheet that is kept: name it with -o FILE.jsonl"),
            (["-d", "4", "--run", "-o", "-"], "error: --run goes on from a sheet that is kept"),
            (["-d", "4", "-o", "-", "--json"], "error: -o - writes the rows to stdout"),
            (["-d", "4", "-o", "cats.csv"], "error: cats.csv: rows are written as JSON lines"),
            (["-d", "4", "--extra", "x"], "is not KEY=JSON"),
            (["-d", "4", "--max-cost", "3"], "--max-cost: there is no price for"),
        ],
    )
    def test_told_with_what_to_do(self, sweep, words, told):
        """Before anything is written, with the option that is at fault."""
        ran = sweep(*words)
        assert (ran.code, ran.out) == (2, "")
        assert told in ran.err
        assert not list(Path().glob("*cats*"))

    def test_without_a_key_nothing_is_written(self, sweep, monkeypatch):
        """What the batch cannot be run with is told before its sheet is there."""
        monkeypatch.delenv("JIMMYAI_API_KEY")
        ran = sweep("-d", "4,6", "-o", "cats.jsonl", "--run", "-q")
        assert (ran.code, ran.err.startswith("error: no API key for gateway jimmy")) == (2, True)
        assert not Path("cats.jsonl").exists()

    def test_as_json(self, sweep):
        """The error as a document, with every fault."""
        ran = sweep("-d", "7", "--json")
        assert ran.code == 2
        assert ran.json["error"]["faults"] == ["duration: 7 is not possible with Gemini-Omini; allowed: 4, 6, 8, 10"]
