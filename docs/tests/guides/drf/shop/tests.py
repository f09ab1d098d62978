from django.contrib.auth.models import User
from django.test import Client, TransactionTestCase
from shop.models import Order, Review

REVIEW = {"book": "Emma", "text": "Witty"}


class Api(TransactionTestCase):
    def setUp(self):
        User.objects.create_user("ann")

    def post(self, path, body, key="a-key-of-ann-that-is-long", user="ann"):
        headers = {"Authorization": user, "Idempotency-Key": key}
        return Client().post(path, body, "application/json", headers=headers)

    def test_a_review_is_written_once(self):
        answers = [self.post("/reviews", REVIEW) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[0].content == answers[1].content
        assert Review.objects.count() == 1

    def test_an_order_is_charged_once(self):
        answers = [self.post("/orders", {"book": "Emma"}) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[1].headers["Idempotent-Replayed"] == "true"
        assert Order.objects.count() == 1

    def test_what_is_wrong_is_said_in_one_shape(self):
        assert self.post("/reviews", REVIEW, user="bob").status_code == 401
        assert self.post("/reviews", {"book": "Emma"}).status_code == 400
        assert self.post("/orders", {"page": 7}).json()["code"] == "parameters_invalid"
        assert self.post("/orders", {}, key="").json()["code"] == "idempotency_key_missing"
