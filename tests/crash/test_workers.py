"""A client's journal, shared by processes of which one is killed."""

import random
import sys

import pytest
from workers import Workers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")


def test_row_36b_one_of_four_workers_is_killed_and_the_others_finish_its_tasks(tmp_path):
    """They share a journal: each task is told of at least once, and no create is sent twice."""
    done = Workers(tmp_path, random.Random(1), rows=6, every=0.3, latest=0.3).run()
    assert not done.faults
    assert done.adopted + done.verdict.uncertain > 0
