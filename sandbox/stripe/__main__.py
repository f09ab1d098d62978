"""`python -m sandbox.stripe`: the stand-in's command line, and its one-line refusals to start."""

import argparse
import contextlib
import errno
import sys
import time
from pathlib import Path

from sandbox.stripe.api import StripeAPI
from sandbox.stripe.server import serve
from sandbox.stripe.store import StoreError, StoreInUse, open_store
from sandbox.stripe.webhooks import WebhookEndpoint

LOOK_AGAIN_SECONDS = 0.2


def main() -> int:
    arguments = _parse_arguments()
    waits = False
    while True:
        try:
            _serve(arguments)
            return 0
        except StoreInUse as error:
            in_the_way = str(error)
        except StoreError as error:
            return _refuse(str(error))
        except OSError as error:
            in_the_way = f"cannot listen on port {arguments.port}: {error.strerror}"
            if error.errno != errno.EADDRINUSE:
                return _refuse(in_the_way)
        if not arguments.stand_by:
            return _refuse(in_the_way)
        if not waits:
            sys.stdout.write(f"{in_the_way}; this one starts when that has ended\n")
            sys.stdout.flush()
        waits = True
        time.sleep(LOOK_AGAIN_SECONDS)


def _serve(arguments: argparse.Namespace) -> None:
    with contextlib.closing(open_store(None if arguments.memory else arguments.data)) as store:
        endpoints = [
            WebhookEndpoint(url=url, secrets=arguments.webhook_secret) for url in arguments.webhook
        ]
        api = StripeAPI(store, latency_seconds=arguments.latency, endpoints=endpoints)
        serve(api, port=arguments.port, until_stdin_closes=arguments.until_stdin_closes)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox.stripe", description=__doc__)
    parser.add_argument("--port", type=int, default=12111, help="0 picks a free one")
    parser.add_argument(
        "--data", type=Path, default=Path(".local/stripe"), help="the folder of its file"
    )
    parser.add_argument("--memory", action="store_true", help="keep nothing on disk")
    parser.add_argument(
        "--latency", type=float, default=0.0, metavar="SECONDS", help="before each call executes"
    )
    parser.add_argument(
        "--webhook",
        action="append",
        default=[],
        metavar="URL",
        help="where events go; by default nowhere, and to each where there are several",
    )
    parser.add_argument(
        "--webhook-secret",
        action="append",
        default=[],
        metavar="SECRET",
        help="what they are signed with; may be given more than once",
    )
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="end with the process that started this"
    )
    parser.add_argument(
        "--stand-by",
        action="store_true",
        help="where another stand-in uses the folder or the port, take its place when it ends",
    )
    return parser.parse_args()


def _refuse(reason: str) -> int:
    sys.stderr.write(f"stripe stand-in: {reason}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
