"""HAProxy before two instances of the API, with the configuration that production has."""

import contextlib
import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pycurl
import requests

from rocketrides.environment import BASE_DIR
from sandbox.supervisor import PATIENCE_SECONDS, environment, free_port, start, wait_until

CONFIGURATION = BASE_DIR / "deploy" / "haproxy.cfg"
CELLS = BASE_DIR / "deploy" / "haproxy-cells.cfg"
PROGRAM = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
NOTHING: Mapping[str, str] = {}
UNLIMITED = {
    f"RIDES_{what}": "1000000"
    for what in ("REQUESTS_PER_ADDRESS", "REQUESTS_PER_CREDENTIAL", "REFUSALS_PER_ADDRESS")
}
"""For what is about something else, and has one client do the work of many."""


@contextlib.contextmanager
def balancer(
    folder: Path,
    ports: tuple[int, int],
    instead: Mapping[str, str] = NOTHING,
    *,
    also: Path | None = None,
    **variables: str,
) -> Iterator[str]:
    """HAProxy on a free port before two others, without TLS; yields its address.

    Args:
        instead: what is to stand in the place of some words of the configuration, such as a time
            limit that no test can wait for.
        also: a further file of its configuration.
        variables: for the configuration, which limits nobody unless they say so.
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
            [PROGRAM, "-db", "-f", str(configuration), *(["-f", str(also)] if also else [])],
            environment(
                HAPROXY_BIND=f"127.0.0.1:{port}",
                RIDES_HOST="localhost",
                RIDES_API_1=f"127.0.0.1:{ports[0]}",
                RIDES_API_2=f"127.0.0.1:{ports[1]}",
                **{**UNLIMITED, **variables},
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
        requests.get(url, timeout=PATIENCE_SECONDS, allow_redirects=False)
        return True
    return False


@dataclass(frozen=True)
class Answer:
    """What a client of HAProxy's got."""

    status: int
    http_version: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Front:
    """HAProxy with TLS: its two addresses, and the certificate that it shows."""

    url: str
    plain_url: str
    certificate: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        *,
        address: str = "127.0.0.1",
        http_version: int = pycurl.CURL_HTTP_VERSION_2TLS,
        **headers: str,
    ) -> Answer:
        """Send a GET, or a POST where there is a body, on a connection of its own.

        Args:
            address: the client's.
            headers: with `_` for `-`.
        """
        answered, lines = io.BytesIO(), list[bytes]()
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, f"{self.url}{path}")
        curl.setopt(pycurl.CAINFO, str(self.certificate))
        curl.setopt(pycurl.INTERFACE, address)
        curl.setopt(pycurl.HTTP_VERSION, http_version)
        curl.setopt(pycurl.TIMEOUT, int(PATIENCE_SECONDS))
        named = {"Expect": "", **{name.replace("_", "-"): value for name, value in headers.items()}}
        curl.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in named.items()])
        if body is not None:
            curl.setopt(pycurl.POSTFIELDS, body)
        curl.setopt(pycurl.WRITEDATA, answered)
        curl.setopt(pycurl.HEADERFUNCTION, lines.append)
        try:
            curl.perform()
            first, *rest = [line.decode("latin-1").strip() for line in lines if line.strip()]
            told = dict(line.split(": ", 1) for line in rest)
            status = curl.getinfo(pycurl.RESPONSE_CODE)
            return Answer(status, first.split()[0], told, answered.getvalue())
        finally:
            curl.close()


@contextlib.contextmanager
def front(
    folder: Path, ports: tuple[int, int], instead: Mapping[str, str] = NOTHING, **variables: str
) -> Iterator[Front]:
    """HAProxy with TLS, by a certificate that is made for it. Its arguments are a `balancer`'s."""
    both, port = make_certificate(folder), free_port()
    tls = {"HAPROXY_TLS_BIND": f"127.0.0.1:{port}", "RIDES_CERTIFICATES": str(both)}
    with balancer(folder, ports, instead, also=None, **variables, **tls) as plain_url:
        yield Front(f"https://127.0.0.1:{port}", plain_url, both)


def make_certificate(folder: Path) -> Path:
    """Make a key and a certificate of this machine, in one file as HAProxy reads them."""
    key, certificate, both = (folder / f"{name}.pem" for name in ("key", "certificate", "both"))
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    both.write_text(key.read_text() + certificate.read_text())
    return both
