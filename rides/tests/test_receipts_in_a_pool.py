"""A job that calls out holds no connection of a pool meanwhile, although it has read before."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from dj_db_conn_pool.core import pool_container
from django.core.mail.backends.locmem import EmailBackend
from django.db import ConnectionHandler, connection, connections

from idempotency.jobs import run_job
from idempotency.jobs.delivering import drain_staged_jobs
from idempotency.models import JobDelivery
from rides.models import AuditRecord
from rides.tasks import send_ride_receipt
from rides.tests.queues.conftest import owe_receipts

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_session")]

IN_USE: list[int] = []


class WatchingBackend(EmailBackend):
    """Sends nothing, and looks how many connections of the pool are in use."""

    def send_messages(self, messages):
        IN_USE.append(pool_container.get("default").checkedout())
        return super().send_messages(messages)


def in_a_pool(work):
    """Runs in a thread whose connection is of a pool."""
    pool = {"POOL_SIZE": 1, "MAX_OVERFLOW": 0, "TIMEOUT": 1, "PRE_PING": False}
    settings = {**connection.settings_dict, "ENGINE": "rocketrides.pooled", "POOL_OPTIONS": pool}

    def run():
        connections["default"] = ConnectionHandler({"default": settings})["default"]
        try:
            work()
        finally:
            connections["default"].close()
            pool_container.pop("default").dispose()
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
