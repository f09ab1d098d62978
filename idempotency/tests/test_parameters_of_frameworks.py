"""Parameters by a serializer, a model of pydantic, a Schema of Ninja: held to a form's contract."""

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from django.urls import path
from ninja import Schema
from pydantic import BaseModel, Field, field_validator
from rest_framework import serializers

from idempotency import STARTED, Operation, RecoveryPoint, Response, atomic_phase
from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)

looks: list[str] = []
seen: list[Any] = []
UUID_SENT = "12345678-1234-5678-1234-567812345678"


class Keeps(Operation):
    """Notes in each of its two phases what it was asked for; fails between them when it is told."""

    fails = False

    @atomic_phase(STARTED)
    def begin(self) -> RecoveryPoint:
        seen.append(dict(self.params))
        return RecoveryPoint("begun")

    @atomic_phase("begun")
    def end(self) -> Response:
        if type(self).fails:
            raise RuntimeError
        seen.append(dict(self.params))
        return Response(201, {"lines": len(self.params["lines"])})


class LineSerializer(serializers.Serializer):
    sku = serializers.CharField()
    count = serializers.IntegerField(min_value=1)


class OrderSerializer(serializers.Serializer):
    price = serializers.DecimalField(max_digits=40, decimal_places=30)
    lines = LineSerializer(many=True)
    at = serializers.DateTimeField(required=False)
    gift = serializers.BooleanField(default=False)
    note = serializers.CharField(required=False, default="")
    ref = serializers.UUIDField(required=False)
    shown = serializers.CharField(read_only=True)

    def validate_price(self, price):
        looks.append("price")
        return price


class LineModel(BaseModel):
    sku: str
    count: int = Field(ge=1)


class OrderModel(BaseModel):
    price: Decimal
    lines: list[LineModel]
    at: dt.datetime | None = None
    gift: bool = False
    note: str = ""
    ref: UUID | None = None

    @field_validator("price")
    @classmethod
    def look(cls, price):
        looks.append("price")
        return price


class LineSchema(Schema):
    sku: str
    count: int = Field(ge=1)


class OrderSchema(Schema):
    price: Decimal
    lines: list[LineSchema]
    at: dt.datetime | None = None
    gift: bool = False
    note: str = ""
    ref: UUID | None = None

    @field_validator("price")
    @classmethod
    def look(cls, price):
        looks.append("price")
        return price


class BySerializer(Keeps):
    params_form = OrderSerializer
    transient_fields = ("note",)


class ByModel(Keeps):
    params_form = OrderModel
    transient_fields = ("note",)


class BySchema(Keeps):
    params_form = OrderSchema
    transient_fields = ("note",)


class GroupSerializer(serializers.Serializer):
    group = serializers.PrimaryKeyRelatedField(queryset=Group.objects.all())


class OfAGroup(Operation):
    params_form = GroupSerializer

    @atomic_phase(STARTED)
    def answer(self) -> Response:
        return Response(201, {"group": self.params["group"].name})


OPERATIONS = {"/serializer": BySerializer, "/model": ByModel, "/schema": BySchema}
urlpatterns = [
    *(path(where[1:], operation.as_view()) for where, operation in OPERATIONS.items()),
    path("group", OfAGroup.as_view()),
]

everywhere = pytest.mark.parametrize("to", OPERATIONS)
DIGITS = "0.123456789012345678901234567891"
ORDER = (
    b'{"price": %s, "lines": [{"sku": "a", "count": 2}, {"sku": "b", "count": 1}],'
    b' "at": "2026-01-01T12:00:00Z", "gift": true, "ref": "%s", "note": "soon"}'
) % (DIGITS.encode(), UUID_SENT.encode())


@pytest.fixture(autouse=True)
def calm(monkeypatch):
    looks.clear()
    seen.clear()
    monkeypatch.setattr(Keeps, "fails", False)


@everywhere
def test_what_it_made_is_kept_without_loss_for_every_attempt(customer, key, to, monkeypatch):
    monkeypatch.setattr(OPERATIONS[to], "fails", True)
    assert customer.post(ORDER, key, to=to).status_code == 500
    monkeypatch.setattr(OPERATIONS[to], "fails", False)
    let_time_pass(dt.timedelta(minutes=6))
    assert complete_due_keys(10).counts["succeeded"] == 1

    first, later = seen[0], seen[-1]
    assert first == later
    assert later["price"] == Decimal(DIGITS)
    assert [dict(line) for line in later["lines"]] == [
        {"sku": "a", "count": 2},
        {"sku": "b", "count": 1},
    ]
    assert later["at"] == dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    assert (later["gift"], later["ref"]) == (True, UUID(UUID_SENT))
    assert "note" not in later
    assert looks == ["price"], "it is asked once"


@everywhere
def test_a_retry_in_another_spelling_is_the_same_request(customer, key, to):
    customer.post(ORDER, key, to=to)

    again = customer.post(
        ORDER.replace(b'"soon"', b'"later"').replace(b": 2}", b": 2.0}"), key, to=to
    )

    assert again.headers["Idempotent-Replayed"] == "true"


@everywhere
@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ((b'"count": 2', b'"count": "2"'), "must be a number"),
        ((b'"count": 2', b'"count": 0'), "greater than or equal to 1"),
        ((b'"count": 2', b'"count": 2, "size": 1'), "is not a known field"),
        ((b'"gift": true', b'"gift": 1'), "must be true or false"),
        ((b'"gift": true', b'"gift": "yes"'), "must be true or false"),
        ((b'"sku": "a"', b'"sku": 7'), "string"),
        ((b'"price": ', b'"colour": "red", "price": '), "is not a known field"),
        ((b'"price": ', b'"cost": '), "is not a known field"),
        ((b"2026-01-01T12:00:00Z", b"yesterday"), "at"),
        ((b'"note": "soon"', b'"note": 7'), "string"),
    ],
    ids=str,
)
def test_it_is_as_strict_as_a_form(customer, key, to, changed, why):
    refused = customer.post(ORDER.replace(*changed), key, to=to)

    assert (refused.status_code, refused.json()["code"]) == (422, "parameters_invalid")
    assert why in refused.json()["error"]
    assert not IdempotencyKey.objects.exists()


def test_a_field_that_is_only_shown_cannot_be_sent(customer, key):
    refused = customer.post(ORDER.replace(b'"note"', b'"shown"'), key, to="/serializer")

    assert "shown: is not a known field" in refused.json()["error"]


def test_an_instance_is_kept_as_a_reference(customer, key, stored):
    group = Group.objects.create(name="crew")

    assert customer.post({"group": group.pk}, key, to="/group").json() == {"group": "crew"}
    assert stored().request_params["group"]["model"] == "auth.group"


@everywhere
def test_a_field_that_is_new_since_has_its_default(customer, key, to, monkeypatch, stored):
    monkeypatch.setattr(OPERATIONS[to], "fails", True)
    customer.post(ORDER, key, to=to)
    row = stored()
    params = dict(row.request_params)
    del params["gift"], params["ref"]
    IdempotencyKey.objects.update(request_params=params)
    monkeypatch.setattr(OPERATIONS[to], "fails", False)

    assert customer.post(ORDER, key, to=to).status_code == 201
    assert (seen[-1]["gift"], seen[-1]["ref"]) == (False, None)


@everywhere
def test_a_form_of_texts_is_read_too(customer, key, to):
    refused = customer.post(
        "price=1.5", key, to=to, content_type="application/x-www-form-urlencoded"
    )

    assert refused.status_code == 422
    assert "lines" in refused.json()["error"]
