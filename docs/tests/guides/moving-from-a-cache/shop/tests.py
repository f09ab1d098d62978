from datetime import timedelta

from django.contrib.auth.models import User
from django.test import Client, RequestFactory, TransactionTestCase
from drf_idempotency.backends.database import DatabaseBackend
from drf_idempotency.fingerprint import compute_fingerprint
from shop.models import Review

KEY = "the-review-of-emma-by-ann"
REVIEW = {"book": "Emma", "text": "Witty"}


class Moving(TransactionTestCase):
    def setUp(self):
        User.objects.create_user("ann")

    def post(self, review=REVIEW):
        headers = {"Authorization": "ann", "Idempotency-Key": KEY}
        return Client().post("/reviews", review, headers=headers)

    def begin_as_before(self):
        request = RequestFactory().post("/reviews", REVIEW)
        fingerprint = compute_fingerprint(request)
        DatabaseBackend().acquire_or_get(KEY, fingerprint, lock_ttl=timedelta(seconds=30))

    def answer_as_before(self):
        self.begin_as_before()
        DatabaseBackend().complete(
            KEY, status_code=201, headers={}, body=b"as before", ttl=timedelta(days=1)
        )

    def test_what_was_answered_before_is_answered_so_again(self):
        self.answer_as_before()

        answer = self.post()
        assert (answer.status_code, answer.content) == (201, b"as before")
        assert Review.objects.count() == 0
        assert self.post({**REVIEW, "text": "Long"}).status_code == 409

    def test_what_was_not_answered_before_is_carried_out_once(self):
        self.begin_as_before()
        assert self.post().json()["code"] == "request_in_progress"
        DatabaseBackend().fail(KEY)

        assert [self.post().status_code for _ in range(2)] == [201, 201]
        assert Review.objects.count() == 1
