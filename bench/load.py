"""The load: wrk with one thread, told by `load.lua` what to send, and a single request at a time.

wrk is compiled and takes a few hundredths of a millisecond a request, so that it is not what is
measured; how much it took stands in the table. Keys and riders are the same either way.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

RIDERS = 100
SCRIPT = Path(__file__).with_name("load.lua")
TIMEOUT_SECONDS = 120  # longer than any queue of clients: a late answer is one, and slow
COORDINATES = {
    "origin_lat": "37.7793",
    "origin_lon": "-122.4192",
    "target_lat": "37.6213",
    "target_lon": "-122.379",
}


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What came back in `seconds`. `statuses` counts by status code, as text.

    A request that got no answer is counted as `broken`.
    """

    seconds: float
    statuses: dict[str, int]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    replayed: int = 0


@dataclass(frozen=True)
class Requests:
    """What is sent: a kind of `load.lua`, the prefix of its keys, and for replays how many."""

    kind: str
    prefix: str
    keys: int = 0

    @property
    def arguments(self) -> list[str]:
        return [self.kind, self.prefix, str(RIDERS), *([str(self.keys)] if self.keys else [])]


def fresh() -> Requests:
    return Requests("fresh", f"fresh-{uuid4()}")


def send(url: str, what: Requests, *, clients: int, seconds: int) -> Answers:
    """Keep `clients` connections busy for `seconds`."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", f"--timeout={TIMEOUT_SECONDS}s"]
    result = subprocess.run(
        [*command, "-s", str(SCRIPT), url, "--", *what.arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    said: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    broken = said.pop("broken") + said.pop("timed_out")
    if broken:
        said["statuses"]["broken"] = broken
    return Answers(**said)


def send_one(url: str, what: Requests, n: int) -> requests.Response:
    """The `n`-th request that wrk would send, with a client that is not fast."""
    n = n % what.keys if what.keys else n
    headers = {
        "Authorization": f"rider-{n % RIDERS}@example.com",
        "Idempotency-Key": f"{what.prefix}-{n:010d}",
    }
    if what.kind == "get":
        return requests.get(url, headers=headers, timeout=TIMEOUT_SECONDS)
    return requests.post(url, data=COORDINATES, headers=headers, timeout=TIMEOUT_SECONDS)
