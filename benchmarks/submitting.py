"""Submits a second: this client with and without its journal, a bare aiohttp loop, and the peers' creates.

    python benchmarks/submitting.py [--submits 3000] [--peers-submits 300] [--in-flight 64] [--rounds 3]
                                    [--only …] [--json FILE] [--plot FILE.png]

So many creates, 64 in flight, against a loopback server on another core that answers at once. With the journal each
intent is on disk before its POST and each answer before its caller has it. CPU is the client process's, user and
system. With its "rate told" the client is told that a million requests a second are allowed, which the others take for
granted; without, it raises its pace by itself. Contenders take turns; medians are shown.
"""

from typing import Any

from arena import contest, label, missing
from peers import NAMES
from tables import bars, median_of, parser_of, save, shown, table

COLUMNS = (
    ("", lambda row: str(row["label"])),
    ("submits", shown("finished", ",.0f")),
    ("submits/s", shown("rate", ",.0f")),
    ("CPU/submit", shown("us", ",.0f", unit=" µs")),
    ("POSTs", shown("posts", ",.0f")),
    ("server busy", shown("busy", ".0%")),
)
MINE = ("bare", "ours-told", "ours-journal", "ours")


def measure(client: str, submits: int, in_flight: int) -> dict[str, Any]:
    """One run of one contender."""
    row = contest(client, "submit", tasks=submits, connections=in_flight, warmed=True)
    return {**row, "label": label(client), "rate": row["finished"] / row["wall"]}


def main() -> None:
    """Run all in turns and print the table."""
    parser = parser_of(__doc__, names=(*MINE, *NAMES))
    parser.add_argument("--submits", type=int, default=3000, help="of this client and the floor")
    parser.add_argument("--peers-submits", type=int, default=300, help="of each peer")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    submits = {name: given.peers_submits if name in NAMES else given.submits for name in given.only}
    absent = {name: why for name in submits if (why := missing(name))}
    able = [name for name in submits if name not in absent]
    turns = [{name: measure(name, submits[name], given.in_flight) for name in able} for _ in range(given.rounds)]
    rows: list[dict[str, Any]] = [median_of([turn[name] for turn in turns]) for name in able]
    rows += [{"client": name, "label": label(name), "skipped": why} for name, why in absent.items()]
    print(f"creates, {given.in_flight} in flight, medians of {given.rounds} turns")
    print(table(COLUMNS, rows))
    save(given.json, rows=rows, turns=turns)
    bars(given.plot, rows, key="rate", title="Submits a second (more is better)")


if __name__ == "__main__":
    main()
