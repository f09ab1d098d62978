"""The numbers for Prometheus: what this machine's processes have counted, and how all stands.

A project mounts `metrics` at an address of its own, which nobody outside is to reach. It needs
`prometheus-client`. Where several processes serve on a machine, `PROMETHEUS_MULTIPROC_DIR` names a
folder that they share.
"""

import hmac
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from idempotency import conf
from idempotency.signals import answered, job_ended, journaled
from idempotency.watched import LIMITS
from idempotency.watching import counts
from idempotency.watching.counts import status_of, what_of
from idempotency.watching.ended import Busy, add_up_ended, alone_in
from idempotency.watching.latest import read_standing

REQUEST_SECONDS = Histogram(
    "idempotency_request_seconds",
    "How long a request took until it was answered, by how it ended.",
    ["operation", "source", "outcome"],
    buckets=LIMITS,
)
PHASE_SECONDS = Histogram(
    "idempotency_phase_seconds",
    "How long a phase took that was committed; a foreign one with its call.",
    ["operation", "phase"],
    buckets=LIMITS,
)
FAILURES = Counter(
    "idempotency_failures", "Attempts that ended without an answer.", ["operation", "code"]
)
CLAIMS = Counter(
    "idempotency_claims", "How keys were taken: fresh, by a retry, by a worker.", ["event"]
)
ANSWERS = Counter(
    "idempotency_foreign_answers", "What the foreign system answered.", ["operation", "status"]
)
# Not `job`, which is Prometheus's own name for what it asks.
JOB_SECONDS = Histogram(
    "idempotency_job_seconds", "How long a job took.", ["job_name", "outcome"], buckets=LIMITS
)
REFUSALS = Counter(
    "idempotency_refusals", "Requests that no view was asked for, by why not.", ["code"]
)


def observe_answer(*, operation: str, outcome: str, seconds: float, source: str, **_: Any) -> None:
    REQUEST_SECONDS.labels(operation, source, outcome).observe(seconds)


def observe_entries(*, key: Any, entries: Sequence[Mapping[str, Any]], **_: Any) -> None:
    for entry in entries:
        event, what = str(entry["event"]), what_of(entry)
        if what == "claim":
            CLAIMS.labels(event).inc()
        elif what == "failure":
            FAILURES.labels(key.operation, event).inc()
        else:
            PHASE_SECONDS.labels(key.operation, event).observe(entry.get("ms", 0.0) / 1000)
        for call in entry.get("calls", ()):
            ANSWERS.labels(key.operation, status_of(call)).inc()


def observe_job(*, job_name: str, outcome: str, seconds: float, **_: Any) -> None:
    JOB_SECONDS.labels(job_name, outcome).observe(seconds)


def count_refusal(code: str) -> None:
    """Count a request that is answered before any view, for the overview too."""
    REFUSALS.labels(code).inc()
    counts.count_refusal(code)


def listen() -> None:
    """Begin to observe in this process. To be called in `ready` of one of the project's apps, so
    that workers observe as well.
    """
    for signal, listener in (
        (answered, observe_answer),
        (journaled, observe_entries),
        (job_ended, observe_job),
    ):
        signal.connect(listener, dispatch_uid=f"idempotency.metrics.{listener.__name__}")


class StandingCollector(Collector):
    """How the service stands, asked when Prometheus asks: the same from every instance."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = read_standing()
        yield GaugeMetricFamily(
            "idempotency_database_up", "Whether the database answered in time.", value=bool(now)
        )
        if now is None:
            return
        yield _gauge(
            "idempotency_open",
            "How many are open; ten thousand stands for more.",
            "what",
            ((tile.name, tile.count) for tile in now.tiles),
        )
        yield _gauge(
            "idempotency_oldest_seconds",
            "How long the oldest of them has been.",
            "what",
            ((tile.name, tile.oldest_seconds) for tile in now.tiles),
        )
        yield _gauge(
            "idempotency_workers_alive",
            "How many processes of a worker have lately said that they are there.",
            "worker",
            ((worker.name, worker.alive) for worker in now.workers),
        )


def _gauge(
    name: str, documentation: str, label: str, values: Iterable[tuple[str, float]]
) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, documentation, labels=[label])
    for of, value in values:
        gauge.add_metric([of], value)
    return gauge


@csrf_exempt  # or a POST without a token of that kind would tell that there is something
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with the numbers, to whoever has `METRICS_TOKEN` as a bearer token.

    Raises: `Http404` for anybody else, and where there is no such token.
    """
    token = conf.current().metrics_token
    given = request.headers.get("Authorization", "")
    if not token or not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise Http404
    try:
        return HttpResponse(_numbers(), content_type=CONTENT_TYPE_LATEST)
    except Busy:
        return HttpResponse(status=503)  # Prometheus asks again


def _numbers() -> bytes:
    """Return the standing, and what is counted here, or in all processes that share the folder."""
    standing, counted = CollectorRegistry(), CollectorRegistry()
    standing.register(StandingCollector())
    stands = generate_latest(standing)
    if not (folder := os.environ.get("PROMETHEUS_MULTIPROC_DIR")):
        return generate_latest(REGISTRY) + stands
    MultiProcessCollector(counted)
    with alone_in(Path(folder)):
        add_up_ended(Path(folder))
        return generate_latest(counted) + stands
