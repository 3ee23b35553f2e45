"""What a client's journal is asked: one order, those that run, those that were left, and what is to be settled."""

from .arguments import check_custom_id
from .generate import Studio
from .models import VideoTask
from .poller import Resumed


class Orders:
    """The calls of a client that only a journal's file, or PostgreSQL, can answer."""

    async def find(self, custom_id: str) -> VideoTask | None:
        """Look up what the journal knows of an order by your own id; asks no gateway, pays nothing, takes nothing over.

        Args:
            custom_id: As `submit` was given it.

        Returns:
            Its task as last written down, a failed one too; `query` and `wait` tell how one that runs stands now. None
            if nothing was paid for it: there is no such row, it was not sent, or it was refused.

        Raises:
            SubmissionUncertainError: It may have been paid, and no task of it is known; see `settle`. Also where it was
                settled with `pay_again` and no task came of it since: submitting it sends it.
            RateLimitError: Its create is being sent at this moment: ask again.
            JournalError: There is no journal file, or it cannot be read.
        """
        check_custom_id(custom_id)
        return await self._begun().followed().journal.find(custom_id)

    def resume(self, *, timeout: float | None = None) -> Resumed:
        """Go on with what an earlier run left unfinished; nothing is paid by it.

        Args:
            timeout: Seconds for the whole wait: the rest comes with a WaitTimeoutError each. None waits for ever.

        Returns:
            An async iterator over an `Outcome` per row of the journal: uncertain creates first, as errors, then tasks
            in order of finishing. What was never sent is not among them: submitting it again sends it.

        Raises:
            JournalError: There is no journal file; from the iterator, it cannot be read.
        """
        studio = self._begun()
        return studio.followed().resumed(studio.finished, timeout)

    async def pending(self) -> list[VideoTask]:
        """Look up which tasks of the journal run; for instance to count them by `metadata`.

        Returns:
            Those that were submitted and not seen finished, of all processes that share it; no uncertain creates.

        Raises:
            JournalError: There is no journal file, or it cannot be read.
        """
        return await self._begun().followed().pending()

    async def settle(
        self, custom_id: str, *, task_id: str | None = None, not_charged: bool = False, pay_again: bool = False
    ) -> VideoTask | None:
        """Answer the one open question about an uncertain create, or a task that the gateway no longer shows.

        Args:
            custom_id: The row: its `custom_id`, or the `key` of the error's evidence. Exactly one answer is given:
            task_id: It is this task, as found in the gateway's console or bill; it is followed from now on.
            not_charged: It surely was not accepted: submitting it again sends it.
            pay_again: Nobody can tell: submitting it again sends it, and may pay a second time.

        Returns:
            The task, if one was named.

        Raises:
            JournalError: No such row, or nothing to settle. A task id named before may be changed until it was seen.
            InvalidRequestError: Not exactly one answer.
        """
        follower = self._begun().followed()
        return await follower.settle(custom_id, task_id=task_id, not_charged=not_charged, pay_again=pay_again)

    def _begun(self) -> Studio:
        """What does the work; the first call starts it."""
        raise NotImplementedError
