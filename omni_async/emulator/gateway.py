"""What the emulator asks of a gateway: read a create, show a task, and refuse in its own words."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import attrs

from .clock import Clock
from .response import Json, Response
from .scenario import Scenario
from .tasks import Look, Order, Task
from .uploads import Upload

VAGUE = "vague"


@attrs.frozen
class Site:
    """Where and when an answer is given: the clock, and scheme and host of the emulator's URLs."""

    clock: Clock
    base: str

    def wall(self, at: float | None) -> float:
        """Unix seconds at `at` seconds since the start."""
        return self.clock.wall(at or 0.0)


class Gateway(ABC):
    """One gateway's requests, answers and words."""

    name: str
    family: tuple[str, ...]  # gateways whose tasks its query finds
    moderated: tuple[str, str]  # code and message of a task that failed by moderation
    failed: tuple[str, str]
    upload_types: Mapping[str, str]  # extension -> media type
    upload_bytes: int
    limit_words: Mapping[str, str]  # limit -> message; VAGUE -> the one that tells nothing

    @abstractmethod
    def read(self, body: Json, scenario: Scenario) -> Order | Response:
        """The order in a create's JSON body, or the refusal of a bad one."""

    @abstractmethod
    def created(self, task: Task, look: Look, site: Site) -> Response:
        """The answer to a create."""

    @abstractmethod
    def shown(self, task: Task, look: Look, site: Site, scenario: Scenario) -> Response:
        """The answer to a query."""

    @abstractmethod
    def balance(self, of: str, spent: float, total: float | None) -> Response:
        """The account's balance; `of` is "user" or "key"."""

    @abstractmethod
    def uploaded(self, url: str, upload: Upload) -> Response:
        """The answer to an upload, now to be had at `url`."""

    @abstractmethod
    def wrong_type(self, extension: str) -> Response:
        """An upload whose name has another ending than `upload_types`."""

    @abstractmethod
    def too_large(self) -> Response:
        """An upload beyond `upload_bytes`."""

    @abstractmethod
    def invalid(self, message: str) -> Response:
        """A malformed request."""

    @abstractmethod
    def unauthorised(self) -> Response:
        """No key, or a wrong one."""

    @abstractmethod
    def limited(self, message: str, *, hidden: bool, headers: Mapping[str, str]) -> Response:
        """A rate limit, in a 429 or `hidden` in a 200."""

    @abstractmethod
    def poor(self) -> Response:
        """The balance is too low."""

    @abstractmethod
    def unknown_task(self) -> Response:
        """No such task."""

    @abstractmethod
    def unknown_path(self, status: int, message: str) -> Response:
        """No such path (404) or method (405)."""

    @abstractmethod
    def broken(self) -> Response:
        """The gateway's own well-formed word that something inside failed and nothing was made."""

    @abstractmethod
    def refused_by_moderation(self) -> Response:
        """A create refused for its prompt."""

    @abstractmethod
    def without_id(self, payload: Json) -> Json:
        """A create's answer with the task id gone."""

    def limit_message(self, limit: str, scenario: Scenario) -> str:
        """What a client is told about the limit that refused it."""
        words = self.limit_words
        return words.get(limit, words[VAGUE]) if scenario.limit_words == "precise" else words[VAGUE]
