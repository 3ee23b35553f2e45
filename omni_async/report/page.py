"""The page: one file with its own style, script and data, and a policy that lets nothing else in.

Whatever comes from outside stands in it as text: escaped in the markup, and in the data as JSON without a `<`, which
the script only ever puts into text nodes and attributes that cannot run.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib import resources
from typing import Any

import attrs

from ..journal.entries import shown_time
from ..version import __version__
from ..wording import doubtful
from . import plots
from .plots import Span

PAGE = 48
"""Rows shown at a time."""
_IN_SCRIPT = {sign: f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@attrs.frozen(kw_only=True)
class Facts:
    """What a report tells.

    Args:
        title: The batch's name.
        gateway: Its gateway, if it is a batch.
        written: When it was read, in seconds since 1970.
        running: Whether its run goes on.
        total: Rows in the journal.
        rows: Those shown, each by `in_script`.
        counts: How many of all stand where.
        paid: Creates that were accepted, in all runs.
        spans: Tasks that were sent.
        unknown: Rows whose prompts and settings the journal does not keep.
        traffic: What the last run sent, if that is known.
    """

    title: str
    gateway: str | None
    written: float
    running: bool
    total: int
    rows: Sequence[str]
    counts: Mapping[str, int]
    paid: int
    spans: Sequence[Span]
    unknown: int
    traffic: Mapping[str, Any] | None


def page(facts: Facts) -> str:
    """The whole page; the same facts give the same text."""
    style, script = _asset("page.css"), _asset("page.js")
    return _PAGE.format(
        policy=_policy(style, script),
        title=escape(facts.title),
        style=style,
        script=script,
        version=escape(__version__),
        head=_head(facts),
        notices=_notices(facts),
        plots=_plots(facts),
        noscript=f"This page shows its {len(facts.rows):,} rows by its own script; results.csv has them, too.",
        data=_data(facts),
    )


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Only this style and this script, videos from beside the page, and nothing from anywhere else."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; media-src 'self' file:; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _data(facts: Facts) -> str:
    """The rows as JSON that cannot end its element."""
    shown = [word for word, count in facts.counts.items() if count]
    return f'{{"size":{PAGE},"states":{in_script(shown)},"rows":[{",".join(facts.rows)}]}}'


def in_script(value: Any) -> str:
    """A value as JSON that may stand in a script element. A row at a time: one call over all would hold up the loop."""
    text = _encode(value)
    for sign, spelled in _IN_SCRIPT.items():
        text = text.replace(sign, spelled)
    return text


def _head(facts: Facts) -> str:
    when = shown_time(facts.written) or ""
    parts = [f"{count:,} {word}" for word, count in [*facts.counts.items(), ("paid", facts.paid)] if count]
    counts = " · ".join(parts) or "no rows yet"
    gateway = f" · gateway {escape(facts.gateway)}" if facts.gateway else ""
    pace = " · the batch was running: reload for news" if facts.running else ""
    return (
        f'<h1 dir="auto">{escape(facts.title)}</h1><p class="counts">{counts}</p>'
        f'<p class="when">As of <time datetime="{when}">{when}</time>{gateway}{pace}</p>'
    )


def _notices(facts: Facts) -> str:
    """What a reader has to know before anything else."""
    told = []
    if uncertain := facts.counts.get("uncertain", 0):
        advice = "Look in the gateway's console or bill, then settle each; they stand first."
        told.append(("alert", f"{doubtful(uncertain)}. {advice}"))
    if facts.total > len(facts.rows):
        left = facts.total - len(facts.rows)
        told.append(("", f"This page has {len(facts.rows):,} rows; {left:,} more are in results.csv."))
    if facts.unknown:
        told.append(
            ("", f"Of {facts.unknown:,} rows the prompt and settings are not known: keep_requests=False kept them out.")
        )
    return "".join(f'<p class="notice {kind}">{escape(text)}</p>' for kind, text in told)


def _plots(facts: Facts) -> str:
    """What can be drawn from what is known, and a word on what cannot."""
    drawn = [
        plots.finished_over_time(facts.spans, facts.written),
        plots.waiting_by_model(facts.spans),
        plots.requests_and_pauses(facts.traffic),
    ]
    if not any(drawn):
        return ""
    missing = "" if facts.traffic else "<p>Requests and pauses are known of a batch whose last run ended by itself.</p>"
    beyond = f"<p>Drawn from the {len(facts.rows):,} rows in this page.</p>" if facts.total > len(facts.rows) else ""
    return (
        '<section aria-labelledby="plots-title"><details id="plots" open><summary><h2 id="plots-title">Plots</h2>'
        f'</summary><div class="plots">{"".join(drawn)}</div>{missing}{beyond}</details></section>'
    )


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>{title} · report</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<a class="skip" href="#rows">Skip to the videos</a>
<header>{head}</header>
<main>
{notices}
<noscript><p class="notice">{noscript}</p></noscript>
{plots}
<section aria-labelledby="rows-title" id="rows" tabindex="-1">
<h2 id="rows-title">Videos</h2>
<form id="filter" role="search" aria-label="Filter the videos" hidden>
<fieldset id="states"><legend>State</legend></fieldset>
<label class="field">Model <select id="model"><option value="">all models</option></select></label>
<label class="field">Search <input id="words" type="search" placeholder="id, prompt, error, your columns"></label>
</form>
<p id="found" role="status"></p>
<ul id="cards"></ul>
<nav id="pager" aria-label="Pages" hidden>
<button type="button" id="before">Previous</button><span id="place"></span>
<button type="button" id="after">Next</button>
</nav>
</section>
</main>
<footer><p>omni_async {version}. Links to a gateway die after a day or three; files stay.</p></footer>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""
