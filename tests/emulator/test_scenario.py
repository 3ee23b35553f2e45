"""Scenarios are data, and bad data is refused by name."""

import json

import attrs
import pytest

from omni_async.emulator import FAULT_KINDS, InjectedFault, Scenario
from omni_async.emulator.faults import DISTURBANCES, FATES, SIGHTS


def test_json_and_python_give_the_same_scenario():
    """A scenario read from JSON equals the one written in Python."""
    text = json.dumps(
        {
            "task_seconds": 2,
            "keys": ["a", "b"],
            "webhook_secret": ["old", "new"],
            "faults": [{"kind": "drop", "on": "query", "every": 3}],
        }
    )
    assert Scenario.from_json(text) == Scenario(
        task_seconds=2,
        keys=("a", "b"),
        webhook_secret=("old", "new"),
        faults=(InjectedFault("drop", on="query", every=3),),
    )


def test_one_key_may_be_a_text():
    """A single key needs no list, and is not taken for its letters."""
    assert Scenario(keys="sk").keys == ("sk",)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"task_second": 1}, "no field 'task_second'; did you mean 'task_seconds'"),
        ({"zzz": 1}, "known: task_seconds, task_sigma"),
        ({"task_seconds": -1}, r"Scenario.task_seconds must be a number >= 0, not -1"),
        ({"task_seconds": True}, "a number >= 0, not True"),
        ({"task_seconds": float("nan")}, "not nan"),
        ({"requests_per_second": 0}, "a number > 0 or null, not 0"),
        ({"running_tasks": 1.5}, "a whole number >= 0 or null"),
        ({"running_tasks": True}, "a whole number >= 0 or null"),
        ({"limit_style": "leaky"}, "one of 'token_bucket', 'fixed_window', 'sliding_window'"),
        ({"limits_in_200": 1}, "one of True, False"),
        ({"retry_after": -1}, "Scenario.retry_after must be a number >= 0 or null"),
        ({"keys": []}, "Scenario.keys must be non-empty texts"),
        ({"keys": [""]}, "Scenario.keys must be non-empty texts"),
        ({"modes": None}, "Scenario.modes must be non-empty texts"),
        ({"faults": "drop"}, "Scenario.faults must be a list of faults"),
        ({"faults": [{"on": "query"}]}, "InjectedFault needs a kind"),
        ({"faults": [{"kind": "dropp"}]}, "InjectedFault.kind must be one of"),
        ({"faults": [{"kind": "fail", "on": "query"}]}, "InjectedFault.on must be one of 'create', not 'query'"),
        ({"faults": [{"kind": "drop", "probability": 2}]}, "a number >= 0 and <= 1 or null"),
        ({"faults": [{"kind": "drop", "every": 0}]}, "a whole number >= 1 or null"),
        ({"faults": [{"kind": "drop", "gateway": "x"}]}, "InjectedFault.gateway must be one of None, 'jimmy'"),
        ({"faults": [{"kind": "drop", "frist": 1}]}, "did you mean 'first'"),
        ({"faults": [3]}, "InjectedFault must be a JSON object, not int"),
        ([], "Scenario must be a JSON object, not list"),
    ],
)
def test_bad_data_is_refused_by_name(values, words):
    """Each refusal names the field, what it may be, and what it was."""
    with pytest.raises(ValueError, match=words):
        Scenario.from_dict(values)


def test_text_that_is_no_json():
    """What is not JSON is said to be none."""
    with pytest.raises(ValueError, match="not JSON"):
        Scenario.from_json("{")


def test_a_fault_knows_its_usual_request_and_whether_it_charges():
    """A kind alone is a whole fault; `charged` can be set against its custom."""
    assert InjectedFault("html_video").on == "file"
    assert InjectedFault("drop_after_accept").charged
    assert not InjectedFault("internal_error").charged
    assert InjectedFault("internal_error", charged=True).charged


def test_every_kind_of_fault_does_something():
    """The kinds a scenario accepts are those that have a function, or a rule in the desk."""
    special = {"rate_limited", "expired_url"}
    assert set(FAULT_KINDS) == set(DISTURBANCES) | set(FATES) | set(SIGHTS) | special


def test_evolving_checks_again():
    """A scenario replaced mid-run is checked like a new one."""
    with pytest.raises(ValueError, match="latency"):
        attrs.evolve(Scenario(), latency="slow")
