"""What the loopback server can answer: requests a second, so that one can tell it is not what limits a client.

    python benchmarks/ceiling.py [--seconds 3] [--connections 64] [--json FILE] [--plot FILE.png]

Plain blocking sockets, one request in flight on each, all sent and then all received: as little work for the loader as
Python allows, one request a packet as from a client. Loader and server have a core each.
"""

import argparse
import json
import socket
import sys
import time
from typing import Any

from arena import HERE, Server, child
from runs import KEY
from tables import bars, parser_of, save, shown, table

HEADERS = "host: 127.0.0.1\r\nuser-agent: omni-async/0.1.0 Python/3.11 aiohttp/3.14.5\r\naccept: application/json\r\n"
REQUEST = "GET {path} HTTP/1.1\r\n" + HEADERS + f"accept-encoding: gzip\r\nauthorization: Bearer {KEY}\r\n\r\n"
PATHS = {
    "jimmy": "/api/open-api/v1/videos/{id}",
    "openai": "/openai/v1/videos/{id}",
    "runwayml": "/runway/v1/tasks/{id}",
    "fal-client": "/fal/omni/video/requests/{id}/status?logs=false",
    "replicate": "/replicate/v1/predictions/{id}",
}
COLUMNS = (
    ("", lambda row: str(row["label"])),
    ("requests/s", shown("rate", ",.0f")),
    ("server CPU/request", shown("us", ",.1f", unit=" µs")),
    ("server busy", shown("busy", ".0%")),
)


def load(port: int, path: str, connections: int, seconds: float) -> dict[str, float]:
    """Ask as fast as the answers come."""
    begin = time.monotonic()
    lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    asked = [
        REQUEST.format(path=path.format(id=f"t-{number}-{begin:.3f}-{begin + 86400:.3f}")).encode()
        for number in range(connections)
    ]
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for line, request in zip(lines, asked, strict=True):
            line.send(request)
        for line in lines:
            line.recv(4096)
        count += connections
    return {"requests": count, "wall": time.perf_counter() - began}


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """The ceiling for one service's shape."""
    with Server() as server:
        asked = [server.port, PATHS[name], given.connections, given.seconds]
        told, _ = child([sys.executable, str(HERE / "ceiling.py"), "--load", json.dumps(asked)])
    figures = json.loads(told)
    cpu = server.counts["server_cpu"]
    rate = {"rate": figures["requests"] / figures["wall"], "us": 1e6 * cpu / figures["requests"]}
    return {"client": name, "label": name, **figures, **server.counts, **rate, "busy": cpu / figures["wall"]}


def main() -> None:
    """Load the server with each shape and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        print(json.dumps(load(*json.loads(given.load))))
        return
    rows = [measure(name, given) for name in PATHS]
    print(f"the loopback server's ceiling, {given.connections} connections, one request in flight on each")
    print(table(COLUMNS, rows))
    save(given.json, rows=rows)
    bars(given.plot, rows, key="rate", title="Requests a second that the loopback server answers", log=False)


if __name__ == "__main__":
    main()
