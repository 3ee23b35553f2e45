"""Settings refuse what cannot be meant."""

import math

import attrs
import pytest

from omni_async.errors import InvalidRequestError
from omni_async.policies import Limits, PollPolicy, RetryPolicy, Timeouts


def test_the_defaults_are_the_documented_ones():
    """Defaults are what the design fixes: changing one is a change for every user."""
    assert attrs.astuple(Limits()) == (64, None, None)
    assert attrs.astuple(PollPolicy()) == (None, None, None, None)
    assert attrs.astuple(RetryPolicy()) == (3, 120.0, True)
    assert attrs.astuple(Timeouts()) == (10.0, 120.0, 30.0, 30.0)


FIELDS = [(kind, field) for kind in (Limits, PollPolicy, RetryPolicy, Timeouts) for field in attrs.fields_dict(kind)]
NUMBERS = [(kind, field) for kind, field in FIELDS if field != "create_on_internal_error"]
WHOLE = {"max_connections", "max_running_tasks", "attempts"}


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "3", 10**400])
@pytest.mark.parametrize(("kind", "field"), NUMBERS)
def test_a_number_that_cannot_be_meant_is_refused_with_its_field(kind, field, value):
    """Zero, negative, endless and not-a-number settings are refused, and the error names the field."""
    with pytest.raises(InvalidRequestError) as caught:
        kind(**{field: value})
    assert caught.value.faults[0].field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert caught.value.may_have_charged is False


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
def test_counts_are_whole_and_times_need_not_be(kind, field):
    """A count of 1.5 is refused, a time of 1.5 s is not."""
    if field in WHOLE:
        with pytest.raises(InvalidRequestError, match=f"{field}: 1.5 is not a positive whole number"):
            kind(**{field: 1.5})
    else:
        assert getattr(kind(**{field: 1.5}), field) == 1.5


@pytest.mark.parametrize(("kind", "field"), NUMBERS)
def test_none_is_for_what_is_found_out(kind, field):
    """None is taken where it is the default, and refused elsewhere."""
    if attrs.fields_dict(kind)[field].default is None:
        assert getattr(kind(**{field: None}), field) is None
    else:
        with pytest.raises(InvalidRequestError, match=f"{field}: None is not a positive"):
            kind(**{field: None})


@pytest.mark.parametrize("value", [0.0009, 3601, 1e300, 1e-300])
def test_what_a_look_is_worth_has_bounds(value):
    """Less than a millisecond or more than an hour is a mistake of units."""
    with pytest.raises(InvalidRequestError, match=r"lag_per_look: .* is not a positive number from 0\.001 to 3600"):
        PollPolicy(lag_per_look=value)
    assert PollPolicy(lag_per_look=0.001).lag_per_look == 0.001
    assert PollPolicy(lag_per_look=3600).lag_per_look == 3600


def test_poll_intervals_leave_room_between_them():
    """A shortest interval above the longest is refused; equal ones are not."""
    assert PollPolicy(min_interval=5, max_interval=5).max_interval == 5
    with pytest.raises(InvalidRequestError, match="min_interval: 9 is above max_interval, 5"):
        PollPolicy(min_interval=9, max_interval=5)
