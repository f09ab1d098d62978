"""HAProxy before two instances of the API, with the configuration that production has."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import requests

from rocketrides.environment import BASE_DIR
from sandbox.supervisor import PATIENCE_SECONDS, environment, free_port, start, wait_until

CONFIGURATION = BASE_DIR / "deploy" / "haproxy.cfg"
PROGRAM = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
NOTHING: Mapping[str, str] = {}


@contextlib.contextmanager
def balancer(
    folder: Path, ports: tuple[int, int], instead: Mapping[str, str] = NOTHING
) -> Iterator[str]:
    """HAProxy on a free port before two others; yields its address.

    Args:
        instead: what is to stand in the place of some words of the configuration, such as a time
            limit that no test can wait for.
    """
    assert PROGRAM, "there is no haproxy; `make haproxy` installs it"
    text = CONFIGURATION.read_text()
    for words, others in instead.items():
        assert words in text
        text = text.replace(words, others)
    configuration, log, port = folder / "haproxy.cfg", folder / "haproxy.log", free_port()
    configuration.write_text(text)
    with log.open("w") as lines:
        haproxy = start(
            [PROGRAM, "-db", "-f", str(configuration)],
            environment(
                HAPROXY_BIND=f"127.0.0.1:{port}",
                RIDES_HOST="localhost",
                RIDES_API_1=f"127.0.0.1:{ports[0]}",
                RIDES_API_2=f"127.0.0.1:{ports[1]}",
            ),
            output=lines,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: not haproxy.is_running() or listens(url))
        assert haproxy.is_running(), log.read_text()
        yield url
    finally:
        haproxy.end()


def listens(url: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        requests.get(url, timeout=PATIENCE_SECONDS)
        return True
    return False
