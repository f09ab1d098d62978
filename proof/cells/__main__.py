"""`python -m proof.cells`: four cells on Citus under load, while cells are moved, a node is killed,
one is added, and a standby takes a node's place.

No acknowledged ride is lost and none is charged twice, nobody is answered anything but 201, 402,
409 or 503, and no statement of a request or a worker touches more than one node. It ends with 1
otherwise.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from proof.cells.load import Load
from proof.cells.nemeses import ALL, BETWEEN_SECONDS, SHORT, Nemesis, say
from proof.cells.verdict import violations_of
from proof.cells.world import running_world

CLIENTS_A_CELL = 2


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    chosen = parse()
    failures: list[str] = []
    began_at = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="cells-") as folder,
        running_world(reachable(Path(folder))) as world,
    ):
        say(f"up after {time.monotonic() - began_at:.0f} s")
        load = Load(world.port, world.api_keys)
        with load.running(CLIENTS_A_CELL):
            for nemesis in chosen:
                time.sleep(BETWEEN_SECONDS)
                say(nemesis.__name__.replace("_", " "))
                failures += [f"{nemesis.__name__}: {each}" for each in nemesis(world, load)]
            time.sleep(BETWEEN_SECONDS)
        failures += violations_of(world, load)
        told = Counter(each.status for each in load.told)
        say("answers: " + " ".join(f"{status}={n}" for status, n in sorted(told.items())))
    for failure in failures[:20]:
        say(failure)
    sys.stdout.write(f"violations {len(failures)}\n")
    return 1 if failures else 0


def reachable(folder: Path) -> Path:
    """Let the server's user pass, who is another one where root runs this."""
    folder.chmod(0o711)
    return folder


def parse() -> list[Nemesis]:
    parser = argparse.ArgumentParser(prog="python -m proof.cells", description=__doc__)
    names = {nemesis.__name__: nemesis for nemesis in ALL}
    parser.add_argument("nemeses", nargs="*", choices=[*names, []], default=[])
    parser.add_argument("--short", action="store_true", help="what a build server runs")
    options = parser.parse_args()
    return [names[name] for name in options.nemeses] or list(SHORT if options.short else ALL)


if __name__ == "__main__":
    sys.exit(main())
