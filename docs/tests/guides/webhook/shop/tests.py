import json

from django.contrib.auth.models import User
from django.test import Client, TransactionTestCase
from shop.models import Refund
from shop.webhooks import signature_of

EVENT = {"id": "evt_1", "type": "refunded", "charge_id": "charge-1"}


class Webhooks(TransactionTestCase):
    def setUp(self):
        User.objects.create_user("provider")

    def receive(self, event, signature=None):
        body = json.dumps(event).encode()
        headers = {"Signature": signature or signature_of(body)}
        return Client().post("/webhooks/provider", body, "application/json", headers=headers)

    def test_an_event_counts_once_however_often_it_comes(self):
        answers = [self.receive(EVENT) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert answers[2].headers["Idempotent-Replayed"] == "true"
        assert Refund.objects.count() == 1

    def test_an_id_that_comes_with_something_else_is_refused(self):
        self.receive(EVENT)
        answer = self.receive({**EVENT, "charge_id": "charge-2"})

        assert (answer.status_code, answer.json()["code"]) == (409, "parameters_mismatch")

    def test_what_the_provider_did_not_sign_is_refused(self):
        assert self.receive(EVENT, "another").status_code == 401
        assert self.receive(EVENT, "änother").status_code == 401
