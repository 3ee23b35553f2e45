"""`status` and `wait`: tasks from elsewhere."""

import asyncio
import json
from pathlib import Path

import pytest

from omni_async import OmniClient


@pytest.fixture
def tasks(gateway):
    """A gateway and ids of tasks that another program submitted."""

    def submit(*prompts, **fields):
        running = gateway(**fields)

        async def all_of_them():
            async with OmniClient("jimmy", api_key="any", base_url=running.url) as client:
                return [(await client.submit(prompt)).task_id for prompt in prompts]

        return running, asyncio.run(all_of_them())

    return submit


def test_status_is_a_line_each(omni, tasks):
    """Ids come back in the order given, with status and progress, separated by tabs."""
    running, ids = tasks("a", "b", task_seconds=30)
    ran = omni("status", *ids, "--base-url", running.url)
    assert ran.code == 0
    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert [line[0] for line in lines] == ids
    assert {line[1] for line in lines} <= {"queued", "running"}


def test_status_as_json_is_an_object_or_a_list(omni, tasks):
    """One id gives an object, several a list."""
    running, ids = tasks("a", "b", task_seconds=30)
    assert omni("status", ids[0], "--base-url", running.url, "--json").json["task_id"] == ids[0]
    both = omni("status", *ids, "nope", "--base-url", running.url, "--json")
    assert [document["task_id"] for document in both.json] == [*ids, "nope"]
    assert both.json[2]["error"]["type"] == "NotFoundError"
    assert both.code == 1


def test_status_of_a_failed_task_is_no_failure_of_the_command(omni, tasks):
    """Looking worked, so the code is 0; the document has the gateway's reason."""
    running, ids = tasks("a", faults=[{"kind": "fail"}])
    assert omni("wait", *ids, "--base-url", running.url, "--poll", "0.05").code == 1
    ran = omni("status", *ids, "--base-url", running.url, "--json")
    assert ran.code == 0
    assert ran.json["error"]["message"] == "Read timed out"


def test_status_without_progress(omni, tasks):
    """What the gateway does not tell is left empty."""
    running, ids = tasks("a", task_seconds=30, progress=False)
    assert omni("status", *ids, "--base-url", running.url).out.rstrip() in (f"{ids[0]}\trunning", f"{ids[0]}\tqueued")


def test_wait_gives_urls_in_order_of_finishing(omni, tasks):
    """Without -o each URL is a line of stdout."""
    running, ids = tasks("a", "b")
    ran = omni("wait", *ids, ids[0], "--base-url", running.url, "--poll", "0.05")
    assert ran.code == 0
    assert sorted(line.rpartition("/")[2].partition(".")[0] for line in ran.out.splitlines()) == sorted(ids)


def test_wait_stores_videos_in_a_folder_and_once(omni, tasks):
    """With -o DIR each becomes ID.mp4; run again, nothing is fetched again."""
    running, ids = tasks("a", "b")
    words = ("wait", *ids, "--base-url", running.url, "--poll", "0.05", "-o", "videos")
    ran = omni(*words)
    assert sorted(ran.out.splitlines()) == sorted(str(Path("videos", f"{task_id}.mp4")) for task_id in ids)
    files = running.emulator.ledger.requests["file"]
    again = omni(*words)
    assert again.code == 0
    assert sorted(again.out.splitlines()) == sorted(ran.out.splitlines())
    assert running.emulator.ledger.requests["file"] == files
    assert omni(*words, "--overwrite").code == 0
    assert running.emulator.ledger.requests["file"] == files + 2


def test_wait_for_one_id_takes_a_file_name(omni, tasks):
    """One video can have a name of its own; one that is there is not replaced."""
    running, ids = tasks("a")
    words = ("wait", ids[0], "--base-url", running.url, "--poll", "0.05", "-o", "cat.mp4")
    assert omni(*words).out == "cat.mp4\n"
    again = omni(*words)
    assert again.code == 1
    assert "--overwrite replaces it" in again.err


def test_wait_as_json_lines(omni, tasks):
    """With --json each task is an object a line, failures and unknown ids too; the worst decides the code."""
    running, ids = tasks("good", "bad", faults=[{"kind": "fail", "prompt": "bad"}])
    words = ("wait", *ids, "--base-url", running.url, "--poll", "0.05", "--json", "-o", "v/")
    ran = omni(*words)
    found = {document["task_id"]: document for document in map(json.loads, ran.out.splitlines())}
    assert found[ids[0]]["file"] == str(Path("v", f"{ids[0]}.mp4"))
    assert found[ids[1]]["status"] == "failed"
    assert ran.code == 1


def test_wait_times_out_and_names_what_is_left(omni, tasks):
    """What still runs is listed in one line that goes on waiting."""
    running, ids = tasks("a", "b", task_seconds=30)
    ran = omni("wait", *ids, "--base-url", running.url, "--poll", "0.05", "--timeout", "0.2")
    assert ran.code == 1
    assert ran.err.endswith(f"\n  omni-async wait {' '.join(ids)} --gateway jimmy --base-url {running.url}\n")


def test_a_fresh_emulator_knows_no_task_and_says_so_at_once(omni):
    """With --emulator an id can only be unknown: that is told without waiting a minute for it."""
    ran = omni("wait", "task_x", "--emulator", "--json")
    assert ran.code == 1
    assert ran.json["status"] == "unknown"


def test_an_unknown_id_is_told_at_once(omni, tasks):
    """It may be mistyped: whoever waits hears so after the first look, and until when it is asked."""
    running, _ = tasks("a")
    ran = omni("wait", "nope", "--base-url", running.url, "--poll", "0.05", "--timeout", "1")
    assert ran.err.count("the gateway does not know task nope (yet): it is asked until ") == 1
    assert "error: task nope was not seen in 1.0 s: " in ran.err
    assert ran.code == 1


def test_a_gateway_that_is_not_there_is_named(omni):
    """Nobody is told that a task runs which nobody has seen."""
    ran = omni("wait", "task_1", "--base-url", "http://127.0.0.1:9", "--timeout", "6")
    assert "warning: task task_1 could not be seen in 3 looks: never sent to 127.0.0.1" in ran.err
    assert "error: task task_1 was not seen in 6.0 s: never sent to 127.0.0.1: the connection was refused" in ran.err
    assert "running" not in ran.err
    assert ran.code == 1


def test_several_videos_need_a_folder(omni):
    """A file cannot hold two videos."""
    Path("cat.mp4").write_text("")
    ran = omni("wait", "a", "b", "-o", "cat.mp4")
    assert ran.code == 2
    assert ran.err == "error: cat.mp4 is a file, and there are 2 videos: give -o a folder\n"


def test_an_id_that_cannot_be_asked_for_is_a_usage_error(omni, gateway):
    """`..` would ask for another path."""
    ran = omni("status", "..", "--base-url", gateway().url)
    assert ran.code == 2
    assert "ID: " in ran.err
