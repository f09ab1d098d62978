"""A job that calls out holds no connection of a pool meanwhile, although it has read before."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.mail.backends.locmem import EmailBackend
from django.db import connections

from idempotency.jobs import run_job
from idempotency.jobs.delivering import drain_staged_jobs
from idempotency.models import JobDelivery
from rides.models import AuditRecord
from rides.tasks import send_ride_receipt
from rides.tests.pools import connections_in_use, pool_of_one
from rides.tests.queues.conftest import owe_receipts

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_session")]

IN_USE: list[int] = []


class WatchingBackend(EmailBackend):
    """Sends nothing, and looks how many connections of the pool are in use."""

    def send_messages(self, messages):
        IN_USE.append(connections_in_use(connections["default"]))
        return super().send_messages(messages)


def in_a_pool(work):
    """Run in a thread whose connection is of a pool."""

    def run():
        with pool_of_one(patience_seconds=1) as pooled:
            connections["default"] = pooled["default"]
            try:
                work()
            finally:
                del connections["default"]

    with ThreadPoolExecutor(1) as thread:
        thread.submit(run).result()


def test_while_a_receipt_is_sent_no_connection_of_the_pool_is_in_use(settings):
    settings.EMAIL_BACKEND = f"{__name__}.WatchingBackend"
    [ride] = owe_receipts(1)
    drain_staged_jobs(1)
    job = JobDelivery.objects.get()
    arguments = (str(job.job_id), send_ride_receipt.module_path, [], job.job_args["kwargs"])

    in_a_pool(lambda: run_job.call(*arguments))

    assert IN_USE == [0]
    assert AuditRecord.objects.get(action="receipt.sent").resource_id == ride.pk
    assert not JobDelivery.objects.exists()
