"""What a person can decide on, and the three ways in which a decision is taken: by code, by the
command, on the admin's page.
"""

import html
import io
from dataclasses import replace
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import path

from idempotency import Response
from idempotency.exceptions import IdempotencyError, ReviewRefused
from idempotency.models import IdempotencyKey
from idempotency.review.decisions import Decision, adopt, close, run_again, undo
from idempotency.review.forms import DECISIONS
from idempotency.tests import bookshop
from idempotency.tests import ledger as provider
from idempotency.tests.bookshop import ORDERED, Death, PlaceOrder, audit

CLOSED = Response.error(410, "We could not deliver it.", code="closed")
REVIEWER = "ann@example.com"
REASON = "The bank says so"

DECIDE = {
    "run-again": run_again,
    "adopt": lambda decision: adopt(decision, "payment-7"),
    "undo": undo,
    "close": lambda decision: close(decision, CLOSED),
}
"""What each decision is in code, by its name on the command line and in addresses."""

FIELDS: dict[str, dict[str, str]] = {
    "run-again": {},
    "adopt": {"reference": "payment-7"},
    "undo": {},
    "close": {"status": "410", "message": "We could not deliver it."},
}
"""The same to command and page: what a person fills in besides the reason."""


class PlaceReviewedOrder(PlaceOrder):
    """An order whose payment a person can adopt, or have taken back."""

    pay = replace(PlaceOrder.pay)
    dies_in_undo = False

    @pay.adopt
    def adopt_payment(self, reference):
        if provider.find_payment(key=self.foreign_key) != reference:
            raise ReviewRefused(f"{reference} does not pay for this order.")
        return reference

    @pay.undo
    def give_back(self):
        payment = provider.find_payment(key=self.foreign_key_at(ORDERED))
        provider.announce(f"{payment} is given back")
        if self.dies_in_undo:
            raise Death
        return payment

    def cancelled(self, account):
        audit(f"order.cancelled: {account}", self.user.pk)
        return Response.error(409, "Your order was cancelled.", code="order_cancelled")

    def record_review(self, action, *, reviewer, reason):
        audit(f"review.{action}: {reviewer}, {reason}", self.user.pk)


class Simple(PlaceOrder):
    """An order of which nothing can be adopted or taken back."""


urlpatterns = [
    *bookshop.urlpatterns,
    path("reviewed", PlaceReviewedOrder.as_view()),
    path("simple", Simple.as_view()),
    path("admin/", admin.site.urls),
]


def decision(row: IdempotencyKey, reason: str = REASON, reviewer: str = REVIEWER) -> Decision:
    return Decision(key_id=row.pk, lease_token=row.lease_token, reviewer=reviewer, reason=reason)


def named(row: IdempotencyKey) -> str:
    """A request as `review list` names it."""
    return f"{row.pk}-{row.lease_token.hex[:8]}"


def review(*arguments: Any) -> str:
    """Run `manage.py review …`; return what it says."""
    said = io.StringIO()
    call_command("review", *map(str, arguments), stdout=said)
    return said.getvalue()


# How a decision is taken. Each returns what the person is told.


def by_code(row: IdempotencyKey, slug: str, reason: str = REASON) -> str:
    try:
        return f"finished with {DECIDE[slug](decision(row, reason)).status}"
    except (ReviewRefused, IdempotencyError) as error:
        return str(error)


def by_command(row: IdempotencyKey, slug: str, reason: str = REASON) -> str:
    said = {**FIELDS[slug], "reason": reason, "reviewer": REVIEWER}
    argument = said.pop(str(DECISIONS[slug].argument), None)
    options = [f"--{name}={value}" for name, value in said.items()]
    try:
        return review(slug, named(row), *([argument] if argument else []), *options)
    except CommandError as error:
        return str(error)


def by_page(row: IdempotencyKey, slug: str, reason: str = REASON) -> str:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser(REVIEWER))
    fields = {**FIELDS[slug], "reason": reason, "lease_token": row.lease_token}
    page = f"/admin/idempotency/idempotencykey/{row.pk}/decide/{slug}/"
    return html.unescape(client.post(page, fields, follow=True).content.decode())


WAYS = (by_code, by_command, by_page)
