"""Answers to a create, and what they mean to each dialect."""

import json

from omni_async.dialects import Meaning, Reply, dialect_named, judge_create

JIMMY, GUIDE, FLAT = dialect_named("jimmy"), dialect_named("gemini_omni"), dialect_named("toapis")
ALL = [JIMMY, GUIDE, FLAT]


def named(dialect):
    """A dialect as a test's id."""
    return dialect.name


def reply(status, document=None, *, body=None, **more):
    """An answer of JSON, or of bytes."""
    return Reply(status=status, body=json.dumps(document).encode() if body is None else body, **more)


def meaning(dialect, status, document=None, **more):
    """What such an answer means: submitted, uncertain, or the kind of refusal."""
    verdict = judge_create(dialect, reply(status, document, **more))
    return verdict.refusal.kind if verdict.meaning is Meaning.REFUSED else verdict.meaning
