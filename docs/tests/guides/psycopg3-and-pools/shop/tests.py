from unittest.mock import patch

from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, TransactionTestCase
from shop import payments


class Pool(TransactionTestCase):
    def test_no_connection_is_in_hand_while_the_provider_is_asked(self):
        User.objects.create_user("ann")
        seen = []
        charge = payments.charge

        def watched(*args, **kwargs):
            seen.append(connection.pool.get_stats())
            return charge(*args, **kwargs)

        with patch.object(payments, "charge", watched):
            headers = {"Authorization": "ann", "Idempotency-Key": "the-order-of-emma-by-ann"}
            answer = Client().post("/orders", {"book": "Emma"}, "application/json", headers=headers)

        assert answer.status_code == 201
        assert seen[0]["pool_available"] == seen[0]["pool_size"]
