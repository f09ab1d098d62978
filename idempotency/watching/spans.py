"""Spans of OpenTelemetry, where its packages are installed: a request, its phases, and the foreign
system's answers as events of the phase that asked.

They are made when the request has its answer, of what the signals have told, with the times at
which it happened. So the heart knows of no tracer, and what is traced costs no statement. A span
that is current then, of Django's own instrumentation say, is their parent.
"""

import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from idempotency.signals import answered, journaled
from idempotency.watching.counts import what_of
from idempotency.watching.logs import hash_of_key

tracer = trace.get_tracer("idempotency")

_happened: ContextVar[tuple[str, tuple["Happened", ...]]] = ContextVar("happened", default=("", ()))
"""Of which client's key, and what. Not everybody who works on a key answers: the reaper does not,
nor does a person who decides, and what they did is in no later request's span."""


@dataclass(frozen=True, slots=True)
class Happened:
    """An entry of the journal, and when it ended, in nanoseconds since 1970."""

    entry: Mapping[str, Any]
    began_at: int
    ended_at: int


def remember(*, key: Any, entries: Sequence[Mapping[str, Any]], **_: Any) -> None:
    """Receive `journaled`. What shares a commit has happened one after the other, up to now."""
    ended_at, remembered = time.time_ns(), []
    for entry in reversed(entries):
        began_at = ended_at - int(entry.get("ms", 0.0) * 1_000_000)
        remembered.append(Happened(entry, began_at, ended_at))
        ended_at = began_at
    before = _happened_to(key.idempotency_key)
    _happened.set((key.idempotency_key, (*before, *reversed(remembered))))


def _happened_to(idempotency_key: str) -> tuple[Happened, ...]:
    of, happened = _happened.get()
    return happened if of == idempotency_key else ()


def trace_answer(
    *, operation: str, outcome: str, seconds: float, source: str, idempotency_key: str, **_: Any
) -> None:
    """Receive `answered`."""
    happened = _happened_to(idempotency_key)
    _happened.set(("", ()))
    now = time.time_ns()
    span = tracer.start_span(
        operation,
        kind=SpanKind.INTERNAL,
        start_time=now - int(seconds * 1_000_000_000),
        attributes={
            "idempotency.operation": operation,
            "idempotency.outcome": outcome,
            "idempotency.source": source,
            "idempotency.key_hash": hash_of_key(idempotency_key) if idempotency_key else "",
        },
    )
    around = trace.set_span_in_context(span)
    for each in happened:
        _trace_entry(each, around)
    span.end(now)


def _trace_entry(happened: Happened, around: Any) -> None:
    entry, what = happened.entry, what_of(happened.entry)
    facts = {name: entry[name] for name in ("recovery_point", "attempt") if name in entry}
    span = tracer.start_span(
        str(entry["event"]),
        context=around,
        kind=SpanKind.CLIENT if entry.get("calls") else SpanKind.INTERNAL,
        start_time=happened.began_at,
        attributes={"idempotency.kind": what, **{f"idempotency.{n}": v for n, v in facts.items()}},
    )
    if what == "failure":
        span.set_status(Status(StatusCode.ERROR, str(entry["event"])))
    for call in entry.get("calls", ()):
        span.add_event("answer", attributes=call, timestamp=happened.ended_at)
    span.end(happened.ended_at)


def listen() -> None:
    """Begin to trace in this process."""
    journaled.connect(remember, dispatch_uid="idempotency.spans.remember")
    answered.connect(trace_answer, dispatch_uid="idempotency.spans.trace_answer")
