"""The benchmarks run, and count what they say they count. Nothing here is timed: a figure is the machine's affair."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
PEERS = ("openai", "openai-aiohttp", "runway", "runway-aiohttp", "fal", "replicate")
MODULES = ("openai", "runwayml", "httpx_aiohttp", "fal_client", "replicate")
WITH_PEERS = all(importlib.util.find_spec(module) for module in MODULES)

needs_peers = pytest.mark.skipif(not WITH_PEERS, reason="the peers' SDKs are not installed (extra: bench)")


def printed_and_told(path, script, *words):
    """Runs a command in a small form; gives what it printed and what it wrote."""
    line = [sys.executable, str(BENCHMARKS / script), *map(str, words), "--json", str(path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(path.read_text("utf-8"))
    assert document["machine"]["python"]
    return done.stdout, document


@pytest.fixture
def run_plainly(tmp_path):
    """Runs a command in a small form; gives what it wrote."""
    return lambda script, *words: printed_and_told(tmp_path / "told.json", script, *words)[1]


@pytest.fixture
def run(tmp_path):
    """Runs a command in a small form; gives its rows, each of which it printed, and what it printed."""

    def command(script, *words):
        printed, document = printed_and_told(tmp_path / "told.json", script, *words)
        for row in document["rows"]:
            assert row["label"] in printed
        return document["rows"], printed

    return command


def by_client(rows):
    """The rows that were run, by their contender."""
    return {row["client"]: row for row in rows if "skipped" not in row}


TRACKING = ("--median", 0.2, "--interval", 0.1)


def test_contenders_take_turns_or_run_together_by_their_own_plans(run):
    """With `--usual --together` each contender plans its looks itself, and all are run at once."""
    rows, printed = run("tracking.py", "--usual", "--together", "--tasks", 3, "--only", "ours", "bare", *TRACKING)
    assert [(row["client"], row["finished"]) for row in rows] == [("ours", 3), ("bare", 3)]
    assert "as each client plans them" in printed


def test_tracking_finishes_all_and_counts_each_request(run):
    """Every contender finishes its tasks with one POST each, and its requests are what the server counted."""
    own = ("protocol", "bare", "attrs", "coroutines", "ours-told", "ours-schedule", "ours-equal")
    rows, _ = run("tracking.py", "--tasks", 5, "--only", *own, *TRACKING)
    for row in rows:
        assert row["finished"] == row["posts"] == row["tasks"] == 5, row
        assert row["requests"] == row["gets"] + row["posts"]
        assert row["gets"] >= 5
        assert not row["errors"]
    assert len(rows) == len(own)


@needs_peers
def test_tracking_runs_every_peer(run):
    """Each peer's SDK finishes its tasks on the server that speaks its shape."""
    rows, _ = run("tracking.py", "--peers-tasks", 2, "--only", *PEERS, *TRACKING)
    for row in rows:
        assert row["finished"] == row["posts"] == 2, row
        assert not row["errors"], row
    assert [row["client"] for row in rows] == list(PEERS)


@pytest.mark.skipif(WITH_PEERS, reason="the peers' SDKs are installed")
def test_a_peer_that_is_not_installed_is_skipped_visibly(run):
    """Without the extra the table has a row for each missing peer, which says what to install."""
    rows, printed = run("waiters.py", "--only", *PEERS)
    assert any("skipped" in row for row in rows)
    assert "extra: bench" in printed


def test_polling_asks_as_often_with_every_contender(run):
    """Ours and the floors send the same number of requests, and the ratio is told."""
    rows, printed = run("polling.py", "--pairs", 1, "--tasks", 20, "--looks", 3, "--interval", 0.1)
    assert {row["client"] for row in rows} == {"protocol", "bare", "lean", "attrs", "ours-told", "ours"}
    assert all(row["gets"] == 60 for row in rows)
    assert by_client(rows)["attrs"]["ratio"] == 1
    assert "CPU per poll, omni_async / floor" in printed


@pytest.mark.parametrize("program", ["polling.py", "journal.py"])
def test_counting_instructions_without_a_counter_says_so(program):
    """Where there is neither perf nor valgrind, one line says that one is needed."""
    line = [sys.executable, str(BENCHMARKS / program), "--instructions"]
    told = subprocess.run(line, capture_output=True, text=True, env={**os.environ, "PATH": ""}, check=False)
    assert told.returncode == 2
    assert told.stderr == "--instructions needs perf or valgrind, and neither is there\n"


def test_many_waiters_cost_the_looks_of_one(run):
    """However many wait for an id with this client, its GETs are those of one waiter, give or take the last look."""
    rows, _ = run("waiters.py", "--waiters", 20, "--seconds", 0.5, "--interval", 0.1, "--only", "ours")
    row = by_client(rows)["ours"]
    assert row["finished"] == 20
    assert row["many"] <= row["one"] + 2


def test_memory_is_told_for_each_task(run):
    """The table has the floor, a coroutine per task, and this client in both its ways."""
    rows, _ = run("memory.py", "--tasks", 30)
    assert [row["client"] for row in rows] == ["attrs", "coroutines", "ours-told", "ours-told"]
    assert all(row["gets"] == 60 for row in rows), "every id was looked at once"


def test_very_many_are_followed_to_their_ends(run):
    """Staggered or all at once, each task reaches its waiter, also when the server allows less than is asked."""
    staggered = ("--staggered", 20, "--requests", 100, "--median", 0.1)
    rows, _ = run("many.py", *staggered, "--ids", 6, "--allowed", 40, "--ids-median", 0.001)
    assert [row["finished"] for row in rows] == [20, 20, 6, 6]


def test_few_requests_a_second_are_enough(run):
    """Behind a server that allows few requests a second, this client's tasks all finish."""
    rows, _ = run("allowance.py", "--tasks", 3, "--allowed", 20, "--median", 0.1, "--only", "ours")
    assert by_client(rows)["ours"]["finished"] == 3


def test_each_submit_is_one_post(run):
    """The floor's and ours, journalled or not, send one POST a submit."""
    own = ("bare", "ours-told", "ours-journal", "ours")
    rows, _ = run("submitting.py", "--submits", 12, "--in-flight", 4, "--rounds", 1, "--only", *own)
    assert [(row["finished"], row["posts"]) for row in rows] == [(12, 12)] * 4


@needs_peers
def test_each_peer_submits(run):
    """Every peer's create reaches the server."""
    rows, _ = run("submitting.py", "--peers-submits", 3, "--rounds", 1, "--only", *PEERS)
    assert [(row["finished"], row["posts"]) for row in rows] == [(3, 3)] * 6


def test_a_lost_answer_is_one_post_of_ours(run):
    """A create that the server takes and drops, or never answers, is sent once, and its caller is told."""
    rows, _ = run("losing.py", "--only", "ours")
    row = by_client(rows)["ours"]
    assert (row["drop"], row["mute"]) == (1, 1)
    assert row["drop_errors"] == row["mute_errors"] == {"SubmissionUncertainError": 1}


def test_import_time_is_compared(run):
    """Ours stands beside what it is built on."""
    rows, _ = run("importing.py", "--turns", 1, "--only", "ours")
    assert [row["client"] for row in rows] == ["bare", "ours"]


def test_the_servers_own_ceiling_is_told(run):
    """For each service's shape there is a number of requests a second, and the server counted them all."""
    rows, _ = run("ceiling.py", "--seconds", 0.1, "--connections", 4)
    assert len(rows) == 5
    assert all(row["requests"] == row["gets"] for row in rows)


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="matplotlib is not installed (extra: bench)")
def test_a_plot_is_drawn(run, tmp_path):
    """`--plot` leaves a picture."""
    run("polling.py", "--pairs", 1, "--tasks", 5, "--looks", 2, "--plot", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_journal_is_measured(run_plainly):
    """Submissions a second at each number in flight, and what of a submit's CPU is the journal's."""
    told = run_plainly("journal.py", "--seconds", 0.05, "--submits", 20, "--pairs", 1, "--commit", 0)
    assert all(rate["ours"] > 0 and rate["plain"] > 0 for rate in told["throughput"].values())
    assert len(told["cpu"]["journal"]) == len(told["cpu"]["none"]) == 1


def test_staging_is_measured(run_plainly):
    """Each way to read a sheet comes to its first create."""
    told = run_plainly("staging.py", "--rows", 200)
    assert set(told["ways"]) >= {"file", "by hand"}


def test_decoding_reads_the_answer_each_way(run):
    """Our two ways and plain cattrs always run; a converter whose package is not there says so."""
    rows, _ = run("decoding.py", "--rounds", 1)
    assert [row["client"] for row in rows] == ["ours", "ours", "json", "json", "orjson", "msgspec"]
    assert all(row["us"] > 0 for row in rows if "skipped" not in row)
    assert not [row for row in rows[:4] if "skipped" in row]
