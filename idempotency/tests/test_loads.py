"""What a foreign phase `loads` is read before its call, when the connection is still there."""

from datetime import timedelta
from functools import cached_property

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import path

from idempotency import STARTED, Operation, RecoveryPoint, Response, atomic_phase, foreign_phase
from idempotency.tests import bookshop

pytestmark = pytest.mark.django_db(transaction=True)


class Fetching(Operation):
    """Needs a row for its call, which its first attempt does not live to make."""

    statements_while_calling = ["the call was never made"]
    first_call_fails = True

    @cached_property
    def begun(self):
        return bookshop.audit_trail()

    @atomic_phase(STARTED)
    def begin(self):
        bookshop.audit("begun", self.user.pk)
        return RecoveryPoint("begun")

    @foreign_phase("begun", window=timedelta(hours=1), loads=["begun"])
    def ask(self):
        if Fetching.first_call_fails:
            Fetching.first_call_fails = False
            raise bookshop.Mishap("in call")
        with CaptureQueriesContext(connection) as statements:
            found = self.begun
        Fetching.statements_while_calling = [s["sql"] for s in statements]
        return found

    @ask.commit
    def end(self, found):
        return Response(201, {"found": found})


urlpatterns = [*bookshop.urlpatterns, path("fetching", Fetching.as_view())]


def test_a_resumed_request_reads_it_before_the_call(customer, key):
    assert customer.post({}, key, to="/fetching").status_code == 500
    answer = customer.post({}, key, to="/fetching")

    assert answer.json() == {"found": ["begun"]}
    assert Fetching.statements_while_calling == []
