"""What a batch is about to do and to pay: told before anything is paid."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import attrs

from ..errors import Fault, invalid_argument
from ..journal.staging import FAILED, Changes
from ..journal.states import FINAL, State
from ..models import Balance
from ..wording import counted
from .pricelist import read_prices, words_of

UNDER_WAY = frozenset({State.SUBMITTED, State.SUBMITTING, State.SUCCEEDED})
"""Paid, and without a file or an end yet."""
SHOWN = 5
"""Kinds without a price that are named."""


@attrs.frozen
class Prices:
    """What videos cost, as the user wrote it down: words of a kind and an amount each.

    Args:
        table: Amount by the words a kind must hold, as in `{"1080p": 0.9, "720p 10 s": 0.7, "*": 0.5}`; of those that
            fit, the one with most words counts.
        currency: Shown with amounts.
    """

    table: Mapping[str, float]
    currency: str = ""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read prices: a JSON object, or a table with the columns `kind` and `price`, as spreadsheet programs save it.

        Amounts may have a currency sign, and a decimal comma where it can be nothing else.

        Raises:
            InvalidRequestError: It cannot be read, or holds something that is not a price.
        """
        return cls.checked(read_prices(path), path)

    @classmethod
    def checked(cls, table: Any, path: Path | str) -> Self:
        """Prices as they were written down at `path`.

        Raises:
            InvalidRequestError: Something in it is not a price.
        """
        if isinstance(table, dict) and isinstance(table.get("prices"), dict):
            currency, table = str(table.get("currency") or ""), table["prices"]
        else:
            table = dict(table) if isinstance(table, Mapping) else {}
            currency = str(table.pop("currency", ""))
        if not table:
            raise invalid_argument(Fault("prices", f"{path}: it holds no prices"))
        for kind, price in table.items():
            if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < 1e9:
                raise invalid_argument(Fault("prices", f"{path}: {price!r:.40} for {kind!r:.40} is not a price"))
        known: dict[frozenset[str], str] = {}
        for kind in table:
            if (before := known.setdefault(words_of(str(kind)), kind)) != kind:
                raise invalid_argument(Fault("prices", f"{path}: {before!r:.40} and {kind!r:.40} are one kind"))
        return cls(table, currency)

    def of(self, kind: str) -> float | None:
        """What one video of a kind costs; None if nothing fits."""
        words = words_of(kind)
        fits = [key for key in self.table if key == "*" or words_of(key) <= words]
        best = max(fits, key=lambda key: 0 if key == "*" else len(key.split()), default=None)
        return None if best is None else float(self.table[best])

    def together(self, kinds: Mapping[str, int]) -> float | None:
        """What so many videos of each kind cost together; None if one has no price."""
        amounts = [(self.of(kind), count) for kind, count in kinds.items()]
        known = [price * count for price, count in amounts if price is not None]
        return float(sum(known)) if len(known) == len(amounts) else None

    def misspelt(self, words: Iterable[str]) -> list[str]:
        """Keys with a word that no kind has, of all `words` that kinds are made of: they fit nothing."""
        known = {"*", *" ".join(words).lower().split()}
        return [key for key in self.table if not words_of(key) <= known]


@attrs.frozen(kw_only=True)
class Plan:
    """What is there, what is new, and what will be paid.

    Args:
        states: How many rows of the sheet stand where, before anything is sent.
        changes: What the sheet changed.
        kinds: How many videos of each kind are to be paid.
        edited: How many of its rows were edited after they were paid, and kept, by where they stand.
        moderated: How many of the others failed because of their content.
        limit: At most so many of them.
        prices: What they cost, if that was told.
        max_cost: At most so much.
        balance: What the account has left, if it could be asked.
        bad: Lines with faults that are left out (`skip_bad`).
        warnings: What is doubtful: prices whose keys fit no video of the gateway, and what the gateway may refuse in
            rows, each with its first lines.
        guesses: What was guessed of the sheet, with words of it: for the eyes of who pays, and for no log.
    """

    states: Mapping[State, int]
    changes: Changes
    kinds: Mapping[str, int]
    edited: Mapping[State, int] = attrs.field(factory=dict)
    moderated: int = 0
    limit: int | None = None
    prices: Prices | None = None
    max_cost: float | None = None
    balance: Balance | None = attrs.field(default=None, repr=False)
    bad: int = 0
    warnings: tuple[Fault, ...] = ()
    guesses: tuple[Fault, ...] = attrs.field(default=(), repr=False)

    @property
    def rows(self) -> int:
        """Rows of the sheet."""
        return sum(self.states.values())

    @property
    def unsent(self) -> int:
        """Rows that are to be sent."""
        return self.states.get(State.PLANNED, 0)

    @property
    def to_pay(self) -> int:
        """Videos that will be paid at most."""
        return self.unsent if self.limit is None else min(self.unsent, self.limit)

    @property
    def cost(self) -> float | None:
        """What all unsent rows cost; None if a price is missing or none was told."""
        return self.prices.together(self.kinds) if self.prices else None

    @property
    def _known_cost(self) -> float:
        """What those rows cost together whose price is known."""
        return sum((self._price(kind) or 0.0) * count for kind, count in self.kinds.items())

    @property
    def _without_price(self) -> list[str]:
        return [kind for kind in self.kinds if self._price(kind) is None]

    def _price(self, kind: str) -> float | None:
        return self.prices.of(kind) if self.prices else None

    def sentence(self) -> str:
        """The plan in one line: no row is told twice, and no option of rows that it does not help."""
        changes = self.changes
        waiting = self.unsent - changes.new - changes.updated - changes.redone - changes.retried
        parts = (
            (self._as_asked(State.DONE), "done"),
            (changes.new, "new"),
            (waiting, "waiting to be sent"),
            (self._as_asked(*UNDER_WAY), "paid and under way"),
            (changes.updated, "edited before sending: updated"),
            (self._edited(FINAL), "edited after paying: kept (redo_edited=True pays again)"),
            (self._edited(UNDER_WAY - FINAL), "edited while under way: kept"),
            (changes.redone, "edited after paying: to be paid again"),
            (changes.retried, "to be tried again"),
            (self._as_asked(*FAILED) - self.moderated, "failed (retry_failed=True pays again)"),
            (self.moderated, "refused for their content"),
            (self.states.get(State.REJECTED, 0), "rejected, not paid"),
            (self.states.get(State.UNCERTAIN, 0), "uncertain: settle them"),
            (changes.missing, "no longer in the file: kept"),
            (self.bad, "with faults: left out"),
        )
        return " · ".join(f"{count:,} {words}" for count, words in parts if count) or "nothing to do"

    def _as_asked(self, *states: State) -> int:
        """Rows in these states that stand as the sheet has them."""
        return sum(self.states.get(state, 0) - self.edited.get(state, 0) for state in states)

    def _edited(self, states: Iterable[State]) -> int:
        return sum(self.edited.get(state, 0) for state in states)

    def lines(self) -> Iterator[str]:
        """The plan for a person."""
        yield self.sentence()
        yield self._payment()
        for kind, count in sorted(self.kinds.items(), key=lambda item: -item[1]):
            price = self._price(kind)
            yield f"  {count:,} × {kind}" + (f" at {price:g} {self._currency}".rstrip() if price is not None else "")
        if self.cost is not None:
            most = f", stopping at {self.max_cost:g}" if self.max_cost is not None and self.max_cost < self.cost else ""
            yield f"cost: {self.cost:,.2f} {self._currency}".rstrip() + most
        elif self.prices is not None:
            without = self._without_price
            told = f"{counted(len(without), 'kind')} {'has' if len(without) == 1 else 'have'} no price"
            named = ", ".join(without[:SHOWN]) + ", …" * (len(without) > SHOWN)
            yield f"cost: at least {self._known_cost:,.2f} {self._currency}".rstrip() + f" ({told}: {named})"
        yield from self.doubts()
        if self.balance is not None:
            yield f"balance: {_left(self.balance)}"

    def doubts(self) -> Iterator[str]:
        """The warnings alone, which are told even to who wants no plan."""
        return (f"warning: {fault}" for fault in (*self.guesses, *self.warnings))

    def _payment(self) -> str:
        if not self.to_pay:
            return "nothing to pay"
        if self.to_pay == self.unsent:
            return f"to pay: {counted(self.to_pay, 'video')}"
        return f"to pay: {self.to_pay:,} of {counted(self.unsent, 'video')} (limit={self.limit})"

    @property
    def _currency(self) -> str:
        return self.prices.currency if self.prices else ""

    def document(self) -> dict[str, Any]:
        """The plan as plain JSON data."""
        return {
            "rows": self.rows,
            "to_pay": self.to_pay,
            "done": self.states.get(State.DONE, 0),
            "states": {str(state): count for state, count in self.states.items()},
            **attrs.asdict(self.changes),
            "bad": self.bad,
            "kinds": dict(self.kinds),
            "cost": self.cost,
            "warnings": [str(fault) for fault in (*self.guesses, *self.warnings)],
            "balance": self.balance.available if self.balance else None,
        }


def _left(balance: Balance) -> str:
    if balance.unlimited:
        return "unlimited"
    return "not told" if balance.available is None else f"{balance.available:,.2f}".removesuffix(".00")
