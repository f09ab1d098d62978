"""With OpenTelemetry's packages a request is a span with its phases in it: for no statement."""

import subprocess
import sys
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from idempotency.testing.clock import let_time_pass
from idempotency.tests.ledger import Fault
from idempotency.watching import spans
from idempotency.watching.logs import hash_of_key
from idempotency.workers.completing import complete_due_keys
from idempotency.workers.reaping import send_overdue_keys_to_review

pytestmark = pytest.mark.django_db(transaction=True)

WITHOUT_ITS_PACKAGES = """
import sys
sys.modules["opentelemetry"] = None
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "opentelemetry" else find(name, *a)
import django
django.setup()
import idempotency.watching.listening
assert "idempotency.watching.spans" not in sys.modules
print("nothing is traced")
"""


@pytest.fixture
def exported(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(spans, "tracer", provider.get_tracer("idempotency"))
    spans._happened.set(("", ()))
    return exporter.get_finished_spans


def named(exported, name: str):
    [span] = [span for span in exported() if span.name == name]
    return span


def test_a_request_is_a_span_with_its_phases_in_it(customer, key, exported, ledger):
    customer.send(key)

    request = exported()[-1]
    assert request.attributes["idempotency.outcome"] == "201"
    assert request.attributes["idempotency.key_hash"] == hash_of_key(key)
    inner = [span for span in exported() if span is not request]
    assert {span.name for span in inner} >= {"claimed", "place_order", "pay"}
    for span in inner:
        assert span.parent.span_id == request.context.span_id
        assert request.start_time <= span.end_time <= request.end_time
        assert span.start_time <= span.end_time


def test_a_failure_is_an_error_and_its_retry_a_span_of_its_own(customer, key, exported, ledger):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    assert named(exported, "outcome_unknown").status.status_code is StatusCode.ERROR

    let_time_pass(timedelta(hours=1))
    complete_due_keys(10)

    completed = exported()[-1]
    assert completed.attributes["idempotency.source"] == "completer"
    assert named(exported, "taken_by_completer").parent.span_id == completed.context.span_id


def test_one_requests_phases_are_not_in_anothers_span(customer, key, exported, ledger):
    customer.send(key)
    before = len(exported())
    customer.send(key)

    assert len(exported()) == before + 1
    assert exported()[-1].attributes["idempotency.outcome"] == "replayed"


def test_what_somebody_did_who_answers_nobody_is_in_no_later_request(
    customer, key, exported, ledger
):
    ledger.faults = [Fault.ERROR_BEFORE]
    customer.send(key)
    let_time_pass(timedelta(days=30))
    send_overdue_keys_to_review(10)
    customer.send("another-key-of-this-customer")

    assert exported()[-1].attributes["idempotency.outcome"] == "201"
    of_it = exported()[-1].context.span_id
    inside = {span.name for span in exported() if span.parent and span.parent.span_id == of_it}
    assert inside >= {"claimed", "pay"}
    assert "taken_by_reaper" not in {span.name for span in exported()}


def test_tracing_costs_no_statement(customer, key, exported, ledger):
    customer.send(key)
    with CaptureQueriesContext(connection) as replayed:
        customer.send(key)

    assert len(replayed) == 2  # who asks, and the key


def test_without_its_packages_nothing_is_traced():
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_ITS_PACKAGES], capture_output=True, text=True
    )
    assert ran.stdout == "nothing is traced\n", ran.stderr
