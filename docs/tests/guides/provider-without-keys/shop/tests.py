from contextlib import contextmanager
from unittest.mock import patch
from urllib.request import urlopen

from django.contrib.auth.models import User
from django.test import Client, TransactionTestCase
from shop import payments
from shop.operations import PlaceOrder

from idempotency.testing import Experiment, by_turns, explore


@contextmanager
def lose_answer():
    """Carry the call out, and lose what the provider says."""

    def lost(request, **options):
        urlopen(request, **options)
        raise TimeoutError

    with patch.object(payments, "urlopen", lost):
        yield


class WithoutKeys(TransactionTestCase):
    def test_no_order_is_charged_twice(self):
        User.objects.create_user("ann")

        def send(key):
            headers = {"Authorization": "ann", "Idempotency-Key": key}
            return Client().post("/orders", {"book": "Emma"}, "application/json", headers=headers)

        def no_reference_twice(trial):
            with urlopen(payments.URL) as answer:
                charges = answer.read().decode().splitlines()
            references = [line.rpartition(" ")[2] for line in charges]
            assert len(references) == len(set(references)), charges

        report = explore(
            Experiment(
                operation=PlaceOrder,
                send=send,
                lose_answer=lose_answer,
                invariants=(no_reference_twice,),
            ),
            by_turns,
        )

        print(report)
        assert report.problems == []
