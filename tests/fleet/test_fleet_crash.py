"""A fleet of real processes: killed, ended, frozen, left without its database. The long forms: tests/crash/fleet.py."""

import argparse
import sys

import needed  # noqa: F401 - skips
import pytest
from fleet_crash import options, run, waiting

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork there")

QUICK = "--rate 40 --running 20 --delay 0.05 --task-seconds 0.3 --sending 1.5 --spread 0.2 --last-seconds 60".split()


def done(folder, postgres, *words):
    """A short form's figures; no promise may be broken in it."""
    table, faults = run(options([*QUICK, *words]), folder, postgres)
    assert not faults
    assert table["duplicates"] == table["lost"] == 0
    assert table["most running at the gateway"] <= 20
    assert table["most creates in a second"] <= 44
    return table


def test_killed_at_random_nothing_is_lost_or_paid_twice(tmp_path, postgres):
    """kill -9: every charge accounted for, and the dead worker's rows are soon with another."""
    table = done(tmp_path, postgres, "--mode", "kill", "--kills", "3", "--rows", "80", "--machines", "2")
    assert table["charges"] + table["uncertain"] - int(table["uncertain and charged (precision)"].split()[0]) == 80


def test_ended_in_good_order_nothing_is_uncertain(tmp_path, postgres):
    """SIGTERM: creates in flight come to their recorded end, and what is waited for goes to the others."""
    assert done(tmp_path, postgres, "--mode", "term", "--kills", "3", "--rows", "80")["uncertain"] == 0


def test_a_database_that_crashes_loses_and_repeats_nothing(tmp_path, postgres):
    """The workers go on with what they have, and tell it when it is back."""
    assert done(tmp_path, postgres, "--mode", "database", "--kills", "1", "--rows", "80")["uncertain"] == 0


def test_a_worker_frozen_past_its_heartbeat_repeats_nothing_and_its_late_ids_heal(tmp_path, postgres):
    """Others have taken its rows over when it goes on."""
    table = done(tmp_path, postgres, "--mode", "freeze", "--kills", "1", "--rows", "80", "--delay", "0.4")
    assert table["frozen with a create in flight"] == 1
    assert table["uncertain"] == 0


def test_a_database_lost_for_good_is_filled_again_from_the_workers_own_journals(tmp_path, postgres):
    """And nothing of it is paid again."""
    table = done(tmp_path, postgres, "--mode", "gone", "--kills", "1", "--rows", "100")
    assert table["rows that the journals gave back"] > 0


def test_a_thousand_waiting_items_take_their_share_of_memory(tmp_path, postgres):
    """Ten thousand have to fit into 500 MB, so a thousand and all that a worker is take no more than 130."""
    table, peak = waiting(argparse.Namespace(items=1000, seconds=0.1, poll=10.0), tmp_path, postgres)
    assert table["items followed"] == 1000
    assert peak < 130e6
