"""The error tree is API: who is whose child, what each holds, what each says."""

import copy
import inspect
import pickle

import pytest

from omni_async import errors
from omni_async.errors import (
    AnswerLostError,
    ApiError,
    AuthenticationError,
    DecodeError,
    DownloadError,
    Fault,
    GatewayError,
    IntegrityError,
    InvalidRequestError,
    JournalError,
    NotFoundError,
    NotSentError,
    OmniError,
    QuotaError,
    RateLimitError,
    RejectedError,
    ResultExpiredError,
    SubmissionUncertainError,
    TargetExistsError,
    TaskFailedError,
    TransportError,
    UnsafeURLError,
    WaitTimeoutError,
    WebhookError,
    invalid_argument,
    invalid_request,
)
from omni_async.models import TaskStatus, VideoTask

TREE = {
    OmniError: (Exception,),
    InvalidRequestError: (OmniError, ValueError),
    TransportError: (OmniError,),
    NotSentError: (TransportError,),
    AnswerLostError: (TransportError,),
    SubmissionUncertainError: (OmniError,),
    ApiError: (OmniError,),
    AuthenticationError: (ApiError,),
    QuotaError: (ApiError,),
    RejectedError: (ApiError,),
    NotFoundError: (ApiError,),
    RateLimitError: (ApiError,),
    GatewayError: (ApiError,),
    DecodeError: (OmniError,),
    TaskFailedError: (OmniError,),
    WaitTimeoutError: (OmniError, TimeoutError),
    DownloadError: (OmniError,),
    UnsafeURLError: (DownloadError,),
    ResultExpiredError: (DownloadError,),
    IntegrityError: (DownloadError,),
    TargetExistsError: (DownloadError, FileExistsError),
    JournalError: (OmniError,),
    WebhookError: (OmniError,),
}
NOTHING_CHARGED = {InvalidRequestError, NotSentError, WebhookError}
TASK = VideoTask(task_id="task_1", status=TaskStatus.FAILED, gateway="jimmy")
ABOUT = {
    "gateway": "jimmy",
    "custom_id": "row-1",
    "task_id": "task_1",
    "request_id": "req-1",
    "metadata": {"row": 1},
    "may_have_charged": True,
}
API = {"status_code": 503, "code": "-1", "message_text": "server error"}
OWN = {
    InvalidRequestError: {"faults": (Fault("duration", "5 is not possible", (4, 6)),)},
    NotSentError: {"configuration": True},
    SubmissionUncertainError: {"evidence": {"reason": "broke off", "status": 200, "candidate": "task_9"}},
    ApiError: API,
    AuthenticationError: API,
    QuotaError: API,
    NotFoundError: API,
    GatewayError: API,
    RejectedError: {**API, "moderated": True},
    RateLimitError: {**API, "retry_after": 2.5},
    DownloadError: {"temporary": True, "still": "storing", "retry_after": 2.5},
    DecodeError: {"path": "$.data.task_id", "excerpt": '{"data": "str"}', "terminal": True},
    TaskFailedError: {"task": TASK, "moderated": True, "retryable": False},
    WaitTimeoutError: {"task": TASK, "waited": 12.5},
}


def example(kind):
    """An error of this class with everything filled in."""
    return kind("it happened", **ABOUT, **OWN.get(kind, {}))


def name(kind):
    """A class as a test's id."""
    return kind.__name__


def test_the_tree_is_complete():
    """Every exception of the module stands in the designed tree, and none is missing."""
    found = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)}
    assert found == set(TREE)


@pytest.mark.parametrize("kind", TREE, ids=name)
def test_each_is_a_child_of_what_the_caller_would_catch(kind):
    """Each class has exactly the parents that the tree shows, the built-in ones among them."""
    assert kind.__bases__ == TREE[kind]


@pytest.mark.parametrize("kind", TREE, ids=name)
def test_only_what_is_proved_unsent_says_that_nothing_was_charged(kind):
    """`may_have_charged` is False only for what was never sent, or is not a create, until it is said of one error."""
    assert kind("m").may_have_charged is (kind not in NOTHING_CHARGED)
    assert kind("m", may_have_charged=False).may_have_charged is False
    assert kind("m", may_have_charged=True).may_have_charged is True


@pytest.mark.parametrize("kind", TREE, ids=name)
def test_every_attribute_is_there_and_none_unless_given(kind):
    """All errors have the ids and the metadata, None or empty unless known; and the attributes given are kept."""
    bare = kind("m")
    assert (bare.gateway, bare.custom_id, bare.task_id, bare.request_id) == (None,) * 4
    assert bare.metadata == {}
    full = vars(example(kind))
    assert full.items() >= ABOUT.items()
    own = {**OWN.get(kind, {})}
    if "message_text" in own:
        own["message"] = own.pop("message_text")
    assert full.items() >= own.items()


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])  # noqa: S301 our own
@pytest.mark.parametrize("kind", TREE, ids=name)
def test_each_survives_pickling_and_copying_with_all_attributes(kind, again):
    """A pickled or copied error is of the same class, says the same, and holds the same."""
    error = example(kind)
    twin = again(error)
    assert type(twin) is kind
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
    assert twin.args == error.args


def test_a_pickle_leaves_the_uncertain_answers_body_out():
    """The body of a lost answer can quote the prompt: it stays with the error and out of its pickle and its text."""
    error = SubmissionUncertainError("m", evidence={"body": b"CANARY", "reason": "broke off"})
    assert b"CANARY" not in pickle.dumps(error)
    assert "CANARY" not in repr(error) + str(error)
    assert error.evidence["body"] == b"CANARY"
    assert copy.copy(error).evidence == {"reason": "broke off"}


def test_the_message_ends_with_the_ids():
    """What is printed is the message, then the ids it is about; metadata is not printed."""
    assert str(OmniError("it happened")) == "it happened"
    wanted = "it happened (gateway jimmy, custom_id row-1, task task_1, request req-1)"
    assert str(example(OmniError)) == wanted
    assert str(example(TargetExistsError)) == wanted
    assert str(OmniError("it happened", task_id="t")) == "it happened (task t)"


def test_about_fills_in_only_what_is_unknown():
    """`about` fills attributes that are None, keeps the others, and gives the same error back."""
    error = OmniError("m", task_id="mine")
    assert error.about(task_id="other", gateway="jimmy", request_id=None) is error
    assert (error.task_id, error.gateway, error.request_id) == ("mine", "jimmy", None)


def test_a_fault_is_one_line_with_the_allowed_values():
    """A fault reads as field, problem and allowed values."""
    assert str(Fault("duration", "5 is not possible", (4, 6))) == "duration: 5 is not possible; allowed: 4, 6"
    assert str(Fault("prompt", "required text")) == "prompt: required text"


def test_an_api_errors_message_is_the_gateways_or_its_own():
    """`message` is what the gateway said, or the whole message if it said nothing."""
    assert ApiError("m").message == "m"
    assert ApiError("m", message_text="said").message == "said"


def test_defaults_of_the_own_attributes():
    """Attributes that are not given have the value that promises least."""
    assert InvalidRequestError("m").faults == ()
    assert NotSentError("m").configuration is False
    assert SubmissionUncertainError("m").evidence == {}
    assert RejectedError("m").moderated is False
    assert RateLimitError("m").retry_after is None
    assert (DecodeError("m").path, DecodeError("m").excerpt, DecodeError("m").terminal) == ("$", "", False)
    failed = TaskFailedError("m")
    assert (failed.task, failed.moderated, failed.retryable) == (None, False, True)
    assert (WaitTimeoutError("m").task, WaitTimeoutError("m").waited) == (None, 0.0)


def test_one_fault_is_one():
    """The message counts faults in English."""
    assert str(invalid_request([])) == "nothing was sent, the request has 0 faults:"
    assert "has 1 fault:\n  - prompt: required text" in str(invalid_request([Fault("prompt", "required text")]))


def test_faults_of_an_argument_are_one_line_that_tells_nothing_of_what_was_sent():
    """A call that is wrong may be about something that was paid long before."""
    error = invalid_argument(Fault("scope", "odd", ("key",)), Fault("timeout", "odd"), may_have_charged=True)
    assert str(error) == "scope: odd; allowed: key; timeout: odd"
    assert [fault.field for fault in error.faults] == ["scope", "timeout"]
    assert error.may_have_charged
