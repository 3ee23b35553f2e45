"""The journal of `generate` and `wait`, in the user's state folder."""

import signal
import stat
import subprocess
from pathlib import Path

import pytest

from omni_async.cli.ledgers import own_path
from omni_async.emulator import InjectedFault
from omni_async.journal import open_journal

from .conftest import PATIENCE, until
from .test_emulate import interrupt

PROMPT = "a cat nobody else may read about"


def words(running, *more):
    return ("generate", PROMPT, "--base-url", running.url, "--poll", "0.05", *more)


def test_it_is_the_users_alone(omni, gateway):
    """Folder and file are made for their owner only, and what was paid stands in it."""
    running = gateway()
    assert omni(*words(running, "-q", "--custom-id", "a", "-o", "a.mp4")).code == 0
    assert stat.S_IMODE(own_path().parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(own_path().stat().st_mode) == 0o600
    (row,) = omni("journal", "--json").json
    assert (row["id"], row["state"], row["attempts"]) == ("a", "DONE", 1)
    assert row["request"] == {"prompt": PROMPT}


def test_the_emulator_leaves_none(omni, scenario):
    """What costs nothing is not written down."""
    assert omni("generate", PROMPT, "--emulator", "--scenario", scenario()).code == 0
    assert not own_path().exists()
    assert omni("journal").code == 2


def test_a_custom_id_is_paid_once(omni, gateway):
    """Run again, it says so, pays nothing and gives the same file, also where that has gone."""
    running = gateway()
    asked = words(running, "--custom-id", "a", "-o", "a.mp4")
    assert omni(*asked).code == 0
    again = omni(*asked)
    assert (again.code, again.out) == (0, "a.mp4\n")
    assert "was submitted before: nothing is paid again" in again.err
    assert running.emulator.ledger.requests["file"] == 1
    Path("a.mp4").unlink()
    third = omni(*asked, "--json")
    assert third.json["status"] == "succeeded"
    assert Path("a.mp4").exists()
    assert len(running.emulator.ledger.charges) == 1


def test_a_task_that_failed_before_is_not_said_to_run(omni, gateway):
    """Asked for again under its custom id, it is told as failed and paid, and there is nothing to go on with."""
    running = gateway(faults=[InjectedFault("fail")])
    asked = words(running, "--custom-id", "a")
    first, again = omni(*asked), omni(*asked)
    assert (first.code, again.code) == (1, 1)
    assert "was submitted before: nothing is paid again" in again.err
    assert "the gateway ended the task without a video" in again.err
    assert "still at the gateway" not in first.err + again.err
    assert len(running.emulator.ledger.charges) == 1


def test_another_file_of_that_name_is_no_video_of_it(omni, gateway):
    """A file that is not the stored video is not passed off as it."""
    running = gateway()
    asked = words(running, "--custom-id", "a", "-o", "videos/")
    assert omni(*asked).out == "videos/a.mp4\n"
    Path("videos/a.mp4").write_text("other")
    refused = omni(*asked)
    assert refused.code == 1
    assert "--overwrite" in refused.err
    assert omni(*asked, "--overwrite").code == 0


def test_other_inputs_under_the_same_id_are_refused(omni, gateway):
    """The id stands for one video: another prompt is a conflict, and so is another place to ask."""
    running, other = gateway(), gateway()
    omni(*words(running, "-q", "--custom-id", "a"))
    changed = omni("generate", "another cat", "--base-url", running.url, "--custom-id", "a")
    assert changed.code == 1
    assert "with other inputs" in changed.err
    elsewhere = omni(*words(other, "--custom-id", "a"))
    assert elsewhere.code == 1
    assert f"'a' is known from {running.url}" in elsewhere.err
    assert not other.emulator.ledger.charges


def test_wait_without_ids_goes_on_with_what_was_interrupted(omni, gateway, monkeypatch, tmp_path):
    """An interrupted generate is finished from any folder, its video where it was to go."""
    running = gateway(task_seconds=1.2)
    omni(*words(running, "--custom-id", "ended", "-q"))
    interrupt(once=lambda: len(running.emulator.ledger.charges) == 2)
    assert omni(*words(running, "-o", "cat.mp4")).code == 130
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    ran = omni("wait", "--base-url", running.url, "--poll", "0.05")
    assert (ran.code, ran.out) == (0, f"{tmp_path / 'cat.mp4'}\n")
    assert (tmp_path / "cat.mp4").exists()
    idle = omni("wait", "--base-url", running.url)
    assert (idle.code, idle.out, idle.err) == (0, "", "nothing is unfinished\n")


def test_wait_without_ids_names_what_is_elsewhere(omni, gateway):
    """A task of another address is not asked for here: the line that reaches it is told."""
    running, other = gateway(task_seconds=30), gateway()
    interrupt(once=lambda: running.emulator.ledger.requests["query"])
    omni(*words(running))
    ran = omni("wait", "--base-url", other.url)
    assert ran.code == 0
    assert f"1 unfinished elsewhere: omni-async wait --gateway jimmy --base-url {running.url}\n" in ran.err


def test_wait_stores_them_in_a_folder_that_is_named(omni, gateway):
    """With -o everything unfinished goes there under its task's name."""
    running = gateway(task_seconds=1.0)
    interrupt(once=lambda: running.emulator.ledger.requests["query"])
    omni(*words(running))
    task_id = running.emulator.ledger.charges[0].task_id
    ran = omni("wait", "-o", "videos/", "--base-url", running.url, "--poll", "0.05")
    assert ran.out == f"{Path('videos', task_id)}.mp4\n"


def test_wait_without_anything_known_is_a_usage_error(omni):
    """Where nothing was kept, ids have to be named."""
    ran = omni("wait")
    assert ran.code == 2
    assert ran.err == "error: name the tasks: nothing is known of earlier ones here; see omni-async wait --help\n"


def killed(started, running, *more):
    """A generate killed while its create is under way."""
    process = started(*words(running, *more))
    until(lambda: running.emulator.ledger.charges)
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    return running.emulator.ledger.charges[0].task_id


def test_killed_while_it_paid(omni, gateway, started):
    """It is not sent again: it is uncertain with the line that settles it, and settled it is waited for."""
    running = gateway(latency=1.5)
    task_id = killed(started, running, "--custom-id", "a", "-o", "a.mp4")
    again = omni(*words(running, "--custom-id", "a", "-o", "a.mp4"))
    line = f"omni-async settle {own_path().parent} a --task-id T | --not-charged | --pay-again"
    assert again.code == 3
    assert f"when you know: {line}\n" in again.err
    waited = omni("wait", "--base-url", running.url)
    assert waited.code == 3
    assert line in waited.err
    settled = omni("settle", own_path().parent, "a", "--task-id", task_id)
    assert (settled.code, settled.out) == (0, "a: submitted\n")
    assert "omni-async wait --gateway jimmy" in settled.err
    assert omni("wait", "--base-url", running.url, "--poll", "0.05").code == 0
    assert Path("a.mp4").exists()
    assert len(running.emulator.ledger.charges) == 1


def test_an_uncertain_create_without_custom_id_names_its_row(omni, gateway):
    """The row has a name that was made for it, and the line that settles it holds that."""
    running = gateway(faults=[{"kind": "html_200"}])
    ran = omni(*words(running))
    (row,) = omni("journal", "--json", "--state", "uncertain").json
    assert ran.code == 3
    assert f"omni-async settle {own_path().parent} {row['id']} --task-id T" in ran.err


def test_what_was_not_charged_is_sent_by_the_line_that_settling_prints(omni, gateway):
    """With all its options, quoted for the shell, and with the id that was made for it: it is the same video."""
    running = gateway(faults=[{"kind": "drop", "first": 1}])
    prompt = "-a cat's 猫;\n$HOME"
    more = ["-d", "8", "-a", "9:16", "--extra", 'style="noir"', "-o", "it's.mp4", "--", prompt]
    assert omni("generate", "--base-url", running.url, "--poll", "0.05", *more).code == 3
    (row,) = omni("journal", "--json").json
    assert "“-a cat's 猫; $HOME”" in omni("journal").out
    settled = omni("settle", own_path(), row["id"], "--not-charged")
    told, _, line = settled.err.partition(": ")
    assert (settled.code, told) == (0, "this sends it, which pays")
    shell = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    program, *asked = shell.stdout.removesuffix("\0").split("\0")
    assert program == "omni-async"
    assert omni(*asked[:-2], "--poll", "0.05", *asked[-2:]).code == 0
    (sent,) = omni("journal", "--json").json
    assert (sent["id"], sent["state"], sent["request"]) == (row["id"], "DONE", row["request"])
    assert [charge.prompt for charge in running.emulator.ledger.charges] == [prompt]
    assert Path("it's.mp4").exists()


def test_a_row_with_an_id_of_the_users_needs_no_prompt(omni, gateway):
    """The list is as short as it can be."""
    running = gateway()
    assert omni(*words(running, "-q", "--custom-id", "a")).code == omni(*words(running, "-q")).code == 0
    named, unnamed = sorted(omni("journal").out.splitlines(), key=len)
    assert PROMPT not in named
    assert f"“{PROMPT}”" in unnamed


@pytest.mark.parametrize("trouble", ["file in its place", "damaged"])
def test_a_state_folder_that_cannot_be_used_is_a_warning(omni, gateway, trouble):
    """The video is made all the same, and that the id is kept nowhere is said."""
    path = own_path()
    if trouble == "damaged":
        path.parent.mkdir(parents=True)
        path.write_bytes(b"no database" * 100)
    else:
        path.parent.parent.mkdir(parents=True)
        path.parent.write_text("")
    ran = omni(*words(gateway()))
    assert ran.code == 0
    assert f"warning: {path} cannot be used (" in ran.err
    assert "ids are only shown here" in ran.err


def test_waiting_for_an_id_makes_no_journal(omni, gateway):
    """Looking is nothing to be remembered."""
    omni("wait", "task_x", "--base-url", gateway().url, "--timeout", "0.1")
    assert not own_path().exists()


def test_others_tasks_are_not_followed(omni, gateway):
    """A command looks at its own tasks only, whatever else the journal has unfinished."""
    running = gateway(task_seconds=30)
    interrupt(once=lambda: running.emulator.ledger.requests["query"])
    omni(*words(running, "--custom-id", "first"))
    first = running.emulator.ledger.charges[0].task_id
    looks = running.emulator.ledger.per_task[first]
    omni(*words(running, "--custom-id", "second", "--timeout", "0.5"))
    assert running.emulator.ledger.per_task[first] == looks


def test_two_at_once_share_it(omni, gateway, started):
    """Commands in different terminals write into one journal."""
    running = gateway(task_seconds=0.5)
    other = started(*words(running, "-q", "--custom-id", "other"))
    assert omni(*words(running, "-q", "--custom-id", "this")).code == 0
    assert other.wait(10) == 0
    connection = open_journal(own_path(), read_only=True)
    states = connection.execute("SELECT key, state FROM item ORDER BY key").fetchall()
    connection.close()
    assert states == [("other", "SUCCEEDED"), ("this", "SUCCEEDED")]
    assert not list(own_path().parent.glob("*.owner-*"))
