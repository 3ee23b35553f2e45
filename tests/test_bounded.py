"""What keeps the last so many."""

import pytest

from omni_async.bounded import Bounded


def test_the_oldest_is_forgotten():
    """For each key too many the oldest goes."""
    kept = Bounded(2)
    for number in range(5):
        kept[number] = str(number)
        assert len(kept) <= 2
    assert dict(kept) == {3: "3", 4: "4"}


def test_a_key_that_is_set_again_stays_as_old_as_it_was():
    """Nothing goes for it, and it goes when its time has come."""
    kept = Bounded(2)
    kept["a"], kept["b"] = 1, 1
    kept["a"] = 2
    assert dict(kept) == {"a": 2, "b": 1}
    kept["c"] = 3
    assert dict(kept) == {"b": 1, "c": 3}


def test_setdefault_is_bounded_too():
    """What it gives is the key's value, known or new."""
    kept = Bounded(2)
    assert [kept.setdefault(key, place) for place, key in enumerate("aabc")] == [0, 0, 2, 3]
    assert dict(kept) == {"b": 2, "c": 3}


def test_what_is_taken_out_makes_room():
    """Taken out or deleted, a key counts no more; and what is not there is missing as in any dict."""
    kept = Bounded(2)
    kept["a"], kept["b"] = 1, 2
    assert kept.pop("a") == 1
    assert kept.pop("a", None) is None
    kept["c"] = 3
    assert dict(kept) == {"b": 2, "c": 3}
    with pytest.raises(KeyError):
        kept["a"]
