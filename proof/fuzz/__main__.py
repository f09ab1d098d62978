"""`python -m proof.fuzz`: the service in production's arrangement, asked what none should ask.

Half of the requests are drawn from its contract by schemathesis, half are written byte by byte to
raw sockets. It fails on a 5xx, on an answer that the contract does not have, on an answer too few
or too many, on a row that a refused request wrote, on an error in the server's log, on a process of
the server that has ended, and on a right booking in between that does not go through.
"""

import argparse
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from proof.chaos.world import leave
from proof.fuzz.contract import Contract
from proof.fuzz.raw import Raw
from proof.fuzz.service import running_service

MOST_FAULTS_SHOWN = 10
MOST_CHARACTERS = 3_000


def main() -> int:
    signal.signal(signal.SIGTERM, leave)
    options = parse()
    tell(f"seed {options.seed}")
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as folder,
        running_service(Path(folder)) as service,
    ):
        contract = Contract(service, options.seed, Path(folder))
        raw = Raw(service, options.seed)
        if options.only != "raw":
            contract.run(options.requests // 2)
            tell(f"{contract.requests} requests by the contract:")
            for path, statuses in contract.by_path().items():
                tell(f"  {path}: {listed(statuses)}")
        if options.only != "contract":
            raw.run(options.requests // 2)
            tell(f"{raw.requests} requests by the byte, and {raw.booked} bookings with the probes:")
            tell(f"  answers: {listed(raw.seen)}")
            tell(f"  ways: {listed(raw.ways)}")
    faults = contract.faults + raw.faults
    for fault in faults[:MOST_FAULTS_SHOWN]:
        tell(f"  {fault[:MOST_CHARACTERS]}")
    tell(f"violations {len(faults)}")
    return 1 if faults else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m proof.fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000, help="of both kinds together")
    parser.add_argument("--seed", type=int, default=1, help="another one asks other things")
    parser.add_argument("--only", choices=["contract", "raw"], help="one kind alone, its half")
    return parser.parse_args()


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
