import time
from datetime import timedelta
from io import StringIO

from celery.contrib.testing.worker import start_worker
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client, TransactionTestCase
from shop.celery import app
from shop.jobs import write_review
from shop.models import Review

from idempotency.models import JobDelivery, StagedJob
from idempotency.testing.clock import let_time_pass


class Jobs(TransactionTestCase):
    def hand_over(self):
        call_command("enqueuer", "--once", stdout=StringIO())

    def wait_until_settled(self):
        deadline = time.monotonic() + 20
        while JobDelivery.objects.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def test_a_job_that_is_delivered_twice_is_done_once(self):
        User.objects.create_user("ann")
        headers = {"Authorization": "ann", "Idempotency-Key": "the-review-of-emma-by-ann"}
        sent = {"book": "Emma", "text": "Witty"}
        answer = Client().post("/reviews", sent, "application/json", headers=headers)
        assert answer.status_code == 202
        assert StagedJob.objects.get().job_name == write_review.module_path

        self.hand_over()
        let_time_pass(timedelta(minutes=2))  # nobody has settled it: it is handed over again
        self.hand_over()

        with start_worker(app, perform_ping_check=False):
            self.wait_until_settled()
        assert Review.objects.count() == 1
