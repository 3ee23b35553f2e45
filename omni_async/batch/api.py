"""A whole batch in one call."""

import inspect
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Unpack

from ..dialects import Dialect
from ..errors import Fault, invalid_argument
from ..fields import shown
from ..making import BatchOptions
from ..policies import Limits
from .entering import SheetOptions, Source
from .plan import Plan, Prices
from .sending import Bounds
from .session import Batch, Summary

logger = logging.getLogger("omni_async")

Confirm = Callable[[Plan], bool | Awaitable[bool]]


async def run_batch(
    source: Source | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    gateway: str | Dialect = "jimmy",
    encoding: str | None = None,
    skip_bad: bool = False,
    retry_failed: bool = False,
    redo_edited: bool = False,
    strict: bool = True,
    limit: int | None = None,
    prices: Prices | Mapping[str, float] | str | os.PathLike[str] | None = None,
    max_cost: float | None = None,
    concurrency: int | None = None,
    stop_after_failures: int | None = None,
    timeout: float | None = None,
    confirm: Confirm | None = None,
    limits: Limits | None = None,
    **options: Unpack[BatchOptions],
) -> Summary:
    """Make every video of a sheet. This pays. Run again with the same folder, it resumes: nothing is paid twice.

    Args:
        source: A file (JSONL, CSV, `.xlsx`), `-` for stdin, a binary stream, an iterable of requests or mappings, or
            None for the rows that the folder has.
        out: The folder for journal, results and videos; by default the file's name without its ending.
        gateway: As for `OmniClient`.
        encoding: Of a text file; None finds out.
        skip_bad: Leave out rows with faults instead of refusing the sheet.
        retry_failed: Pay again for rows that failed or expired, not for moderated or uncertain ones.
        redo_edited: Pay again for rows that were edited after they were paid.
        strict: Whether what breaks the documents' rules is a fault.
        limit: Videos to pay at most in this run.
        prices: What videos cost, by words of a kind as in `Prices`, or a file that tells.
        max_cost: What they may cost together; needs `prices`.
        concurrency: Tasks running at the gateway at most.
        stop_after_failures: Rows that may fail before no more is sent.
        timeout: Seconds to wait for one task at most; the next run goes on with it.
        confirm: Called with the plan before anything is paid, plain or async: True pays, False ends it there, and
            anything else is refused.
        limits: Of the account; `concurrency` wins over its `max_running_tasks`.
        options: Further keywords of `OmniClient`, such as `api_key` and `base_url`.

    Returns:
        What it came to; `results.jsonl` and `results.csv` in the folder have the rows, `report.html` shows them.

    Raises:
        InvalidRequestError: Faults of the sheet, each with its line, a bound that is not one, or what is no rows;
            nothing was sent.
        JournalError: Another process has the batch, or the journal cannot be used.
        OmniError: Anything that kept it from beginning.
    """
    sheet_options = SheetOptions(
        encoding=encoding, skip_bad=skip_bad, retry_failed=retry_failed, redo_edited=redo_edited, strict=strict
    )
    bounds = Bounds(
        limit=limit,
        prices=_prices(prices),
        max_cost=max_cost,
        concurrency=concurrency,
        stop_after_failures=stop_after_failures,
        timeout=timeout,
    )
    work = Batch(source, out=out, gateway=gateway, sheet_options=sheet_options, bounds=bounds, limits=limits, **options)
    async with work as batch:
        plan = await batch.plan(balance=confirm is not None)
        for fault in plan.warnings:
            logger.warning("%s", fault)
        if plan.guesses:
            logger.warning("the encoding of the sheet was guessed: look at its prompts (plan.guesses), or name it")
        if confirm is not None:
            agreed = confirm(plan)
            if not _agreed(await agreed if inspect.isawaitable(agreed) else agreed):
                return await batch.summary()
        return await batch.run()


def _agreed(answer: object) -> bool:
    """What `confirm` said. Only True pays: the "n" that somebody typed is a text, and as good as true."""
    if not isinstance(answer, bool):
        told = f"{shown(answer)} is neither True nor False; nothing was sent"
        raise invalid_argument(Fault("confirm", told))
    return answer


def _prices(given: Prices | Mapping[str, float] | str | os.PathLike[str] | None) -> Prices | None:
    if isinstance(given, str | os.PathLike):
        return Prices.load(Path(given))
    if isinstance(given, Mapping):
        return Prices.checked(given, "prices")
    if not isinstance(given, Prices | None):
        raise invalid_argument(Fault("prices", f"{shown(given)} is neither prices by kind nor a file that tells them"))
    return given
