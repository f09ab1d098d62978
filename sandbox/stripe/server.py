"""The listening process: one event loop on uvloop, ended by a signal or with its parent."""

import asyncio
import signal
import sys

import uvloop

from sandbox.stripe.api import StripeAPI
from sandbox.stripe.console import PREFIX, Console
from sandbox.stripe.wire import Answer, Connection, Handler, Request

HOST = "127.0.0.1"


def serve(api: StripeAPI, *, port: int, until_stdin_closes: bool) -> None:
    """Answer calls until SIGTERM or SIGINT, or until standard input closes if that is asked for.

    Raises:
        OSError: the port cannot be listened on.
    """
    uvloop.run(_serve(api, port, until_stdin_closes))


async def _serve(api: StripeAPI, port: int, until_stdin_closes: bool) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, ended.set)
    if until_stdin_closes:
        # The other end is held by the parent alone, and closes with it even on kill -9.
        loop.add_reader(sys.stdin.fileno(), ended.set)
    handler = _handler(api)
    server = await loop.create_server(lambda: Connection(handler), HOST, port)
    bound_port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"listening on http://{HOST}:{bound_port}\n")
    sys.stdout.flush()
    await ended.wait()


def _handler(api: StripeAPI) -> Handler:
    console = Console(api)

    async def answer(request: Request) -> Answer:
        if request.path.startswith(PREFIX):
            return console.answer(request)
        return await api.answer(request)

    return answer
