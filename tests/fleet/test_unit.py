"""The systemd unit that the README shows."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from omni_async.cli import main

README = Path(__file__).parents[2] / "README.md"
UNIT = re.search(r"```ini\n(\[Unit\].*?)```", README.read_text("utf-8"), re.DOTALL)[1]
KNOWN = {
    "Unit": {"Description", "Wants", "After", "StartLimitIntervalSec"},
    "Service": {
        "User", "EnvironmentFile", "StateDirectory", "StateDirectoryMode", "ExecStart", "Restart", "RestartSec",
        "RestartPreventExitStatus", "SuccessExitStatus", "KillMode", "TimeoutStopSec", "NoNewPrivileges", "PrivateTmp",
        "ProtectSystem", "ProtectHome",
    },
    "Install": {"WantedBy"},
}  # fmt: skip
"""What systemd knows of what stands in it: a slip is found without systemd, too."""


@pytest.fixture
def unit():
    """It, read strictly: a section or a word given twice is an error."""
    reader = configparser.ConfigParser(strict=True, interpolation=None, delimiters=("=",))
    reader.optionxform = str
    reader.read_string(UNIT)
    return reader


def test_it_has_only_words_that_systemd_knows(unit):
    """In their sections."""
    assert {name: set(unit[name]) for name in unit.sections()} == KNOWN


def test_it_gives_a_drain_its_time_and_takes_143_for_an_end(unit):
    """A POST may take 120 s, and its answer has to be written down; only usage errors are for good."""
    service = unit["Service"]
    assert int(service["TimeoutStopSec"]) >= 150
    assert service["SuccessExitStatus"] == "143"
    assert service["KillMode"] == "mixed"
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2")
    assert service["ExecStart"].endswith(f"--state /var/lib/{service['StateDirectory']}")


def test_its_command_is_one(unit, capsys, monkeypatch):
    """Its options are the worker's own: without a key it gets as far as that."""
    monkeypatch.setenv("JIMMYAI_API_KEY", "")
    monkeypatch.setenv("OMNI_FLEET_DSN", "postgresql://omni@db/omni")
    words = unit["Service"]["ExecStart"].split()
    assert main(words[1:]) == 2
    assert "no API key for gateway jimmy" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_finds_nothing_wrong_with_it(tmp_path):
    """But that the program is not installed there."""
    path = tmp_path / "omni-worker@.service"
    path.write_text(UNIT.replace("/opt/omni-async/bin/omni-async", "/bin/true").replace("User=omni\n", ""))
    told = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert "omni-worker" not in told.stderr
