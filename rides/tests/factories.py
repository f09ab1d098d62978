"""Riders, keys and rides for tests: the shortest valid row of each, unless a test says more."""

import uuid
from typing import Any

import factory

from idempotency.models import IdempotencyKey
from rides.models import AuditRecord, Ride, User


class RiderFactory(factory.django.DjangoModelFactory):
    """A rider whose customer id nobody at Stripe knows; `conftest.rider` has a real one."""

    class Meta:
        model = User

    email = factory.Sequence(lambda n: f"rider-{n}@example.com")
    stripe_customer_id = factory.Sequence(lambda n: f"cus_{n}")

    @classmethod
    def _create(cls, model_class: type[User], *args: Any, **kwargs: Any) -> User:
        return model_class.objects.create_user(*args, **kwargs)


class IdempotencyKeyFactory(factory.django.DjangoModelFactory):
    """A key that stands at `started` and that nobody works on."""

    class Meta:
        model = IdempotencyKey

    user = factory.SubFactory(RiderFactory)
    idempotency_key = factory.Sequence(lambda n: f"a-key-long-enough-{n:06}")
    operation = "rides.CreateRide"
    path_kwargs = factory.LazyFunction(dict)
    request_method = "POST"
    request_path = "/rides"
    request_params = factory.LazyFunction(dict)
    fingerprint = "0" * 64
    foreign_key = factory.LazyFunction(uuid.uuid4)


class RideFactory(factory.django.DjangoModelFactory):
    """A booked ride that is not paid for yet."""

    class Meta:
        model = Ride

    user = factory.SubFactory(RiderFactory)
    idempotency_key = factory.SubFactory(
        IdempotencyKeyFactory, user=factory.SelfAttribute("..user")
    )
    foreign_key = factory.LazyAttribute(
        lambda ride: ride.idempotency_key.foreign_key if ride.idempotency_key else uuid.uuid4()
    )
    stripe_customer_id = factory.SelfAttribute("user.stripe_customer_id")
    origin_lat = "37.7793"
    origin_lon = "-122.4193"
    target_lat = "34.0522"
    target_lon = "-118.2437"
    amount_cents = 2000
    currency = "usd"
    origin_ip = "127.0.0.1"


class AuditRecordFactory(factory.django.DjangoModelFactory):
    """What a booked ride leaves in the audit trail."""

    class Meta:
        model = AuditRecord

    action = "ride.created"
    resource_id = 1
    resource_type = "ride"
    user = factory.SubFactory(RiderFactory)
