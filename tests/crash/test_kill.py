"""The batch command, killed: real processes against a gateway that charges. The long forms are commands beside this."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor

import kill_loop
import pytest
from named_points import POINTS, SIDES, Round

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL, SIGTERM or SIGINT for one child there")

QUICK = "--concurrency 16 --spread 0.15 --delay 0.03 --task-seconds 0.1 --last-seconds 60 --check-every 1".split()


def faults_of(folder, *words):
    """A short kill loop's faults, and its table of figures."""
    table, faults = kill_loop.run(kill_loop.options([*QUICK, *words]), folder)
    return faults, table


def test_rows_30_to_32_and_59_killed_at_random_nothing_is_lost_or_paid_twice(tmp_path):
    """Six times kill -9: every charge accounted for, no more uncertain than were in flight, and the batch finishes."""
    large = ["--video-bytes", "3000000", "--video-rate", "20000000"]
    faults, table = faults_of(tmp_path, "--kills", "6", "--rows", "40", "--starting", "0.17", *large)
    assert not faults
    assert table["kills"] == 6
    assert table["duplicates"] == table["lost"] == table["finished files asked for again"] == 0


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_rows_28_and_29_ended_in_good_order_nothing_is_uncertain(tmp_path, name):
    """SIGTERM and the first Ctrl-C: the creates in flight come to a recorded end, the exit code is the signal's."""
    faults, table = faults_of(tmp_path, "--signal", name, "--kills", "2", "--rows", "30", "--starting", "0")
    assert not faults
    assert table["uncertain"] == 0


def test_row_28b_the_second_ctrl_c_leaves_within_a_second(tmp_path):
    """Although a create's answer takes longer than that."""
    faults, table = faults_of(tmp_path, "--signal", "INT2", "--kills", "1", "--rows", "8", "--delay", "0.8")
    assert not faults
    assert table["kills"] == 1


def test_killed_at_every_named_point(tmp_path):
    """Rows 30 to 32 and 59: at each step that money or a file hangs on, before it and after it in turn."""
    places = [(point, SIDES[number % 2]) for number, point in enumerate(POINTS)]
    halves = {"early": places[: len(places) // 2], "late": places[len(places) // 2 :]}

    def dying(half):
        (tmp_path / half).mkdir()
        return Round(tmp_path / half, random.Random(1)).run(halves[half])

    with ThreadPoolExecutor(2) as two:
        for done in two.map(dying, halves):
            assert not done.faults
