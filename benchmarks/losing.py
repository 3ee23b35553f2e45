"""One create whose answer is lost: how many POSTs, that is how many possible charges, the client makes of it.

    python benchmarks/losing.py [--only …] [--json FILE] [--plot FILE.png]

One call of each client's own create against a server that takes the POST and drops the connection, and against one that
takes it and never answers. Each POST after the first may be a second charge. Clients wait one second for an answer,
where that can be set; everything else is as installed, so that their own pauses between tries are in the time. What is
unfinished after 50 seconds is broken off (replicate's create has no limit of its own).
"""

from typing import Any

from arena import contest, label, missing
from peers import NAMES
from tables import bars, parser_of, save, shown, table

COLUMNS = (
    ("", lambda row: str(row["label"])),
    ("POSTs, dropped", shown("drop", ",")),
    ("took", shown("drop_wall", ".1f", unit=" s")),
    ("POSTs, unanswered", shown("mute", ",")),
    ("took", shown("mute_wall", ".1f", unit=" s")),
    ("its caller gets", lambda row: ", ".join(dict.fromkeys((*row["drop_errors"], *row["mute_errors"]))) or "–"),
)


def measure(client: str) -> dict[str, Any]:
    """Both servers, one create each."""
    row: dict[str, Any] = {"client": client, "label": label(client)}
    for way in ("drop", "mute"):
        run = contest(client, "submit", server={"creates": way}, tasks=1, creates=way, patience=50.0)
        row |= {way: run["posts"], f"{way}_wall": run["wall"], f"{way}_errors": run["errors"]}
    return row


def main() -> None:
    """Run all, one after the other, and print the table."""
    given = parser_of(__doc__, names=("ours", *NAMES)).parse_args()
    rows: list[dict[str, Any]] = []
    for client in given.only:
        why = missing(client)
        rows.append({"client": client, "label": label(client), "skipped": why} if why else measure(client))
    print(table(COLUMNS, rows))
    save(given.json, rows=rows)
    title = "POSTs sent for one create whose connection is dropped (each may be charged)"
    bars(given.plot, rows, key="drop", title=title, log=False)


if __name__ == "__main__":
    main()
