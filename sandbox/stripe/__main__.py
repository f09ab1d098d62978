"""`python -m sandbox.stripe`: the stand-in's command line, and its one-line refusals to start."""

import argparse
import sys
from pathlib import Path

from sandbox.stripe.api import StripeAPI
from sandbox.stripe.journal import FileJournal, Journal, JournalError, MemoryJournal
from sandbox.stripe.server import serve


def main() -> int:
    arguments = _parse_arguments()
    try:
        journal: Journal = MemoryJournal() if arguments.memory else FileJournal(arguments.data)
        api = StripeAPI(journal, latency_seconds=arguments.latency)
        serve(api, port=arguments.port, until_stdin_closes=arguments.until_stdin_closes)
    except JournalError as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"cannot listen on port {arguments.port}: {error.strerror}")
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.stripe", description=__doc__)
    parser.add_argument("--port", type=int, default=12111, help="0 picks a free one")
    parser.add_argument(
        "--data", type=Path, default=Path(".local/stripe"), help="the journal's folder"
    )
    parser.add_argument("--memory", action="store_true", help="keep nothing on disk")
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="SECONDS", help="before each call executes"
    )
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end with the process that started this"
    )
    return parser.parse_args()


def _refuse(reason: str) -> int:
    sys.stderr.write(f"stripe stand-in: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
