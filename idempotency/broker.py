"""Runs jobs from a broker, Redis or RabbitMQ, in the process of the job worker.

The messages and the tasks are Celery's, its worker is not: in a single process that acknowledges a
job after it, and when the broker dies at that moment it never takes another. Apart from `queue`,
since Celery is installed only where a broker is configured.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from celery import current_app
from django.db import close_old_connections
from kombu.connection import Connection
from kombu.message import Message

from idempotency.worker import SLICE_SECONDS, JobsRun, should_stop

EMPTY_AFTER = timedelta(seconds=1)
"""A broker does not say that it is empty. It is taken to be when nothing came for this long."""

HEARTBEAT_SECONDS = 60
"""How soon RabbitMQ and a worker notice that there is no way between them any more."""


def run_jobs_until_stopped() -> JobsRun:
    """Runs jobs as they come, one after the other, until a signal asks this process to leave.

    *Raises* `ConnectionError` where the broker is away.
    """
    done = JobsRun()
    with _incoming_jobs(done) as run_next_job:
        while not should_stop():
            run_next_job(SLICE_SECONDS)
    return done


def run_queued_jobs(limit: int) -> JobsRun:
    """Runs up to `limit` jobs that are ready, one after the other.

    A job that fails keeps its delivery record, so it is handed over again. *Raises*
    `ConnectionError` where the broker is away.
    """
    done = JobsRun()
    with _incoming_jobs(done) as run_next_job:
        while done.total < limit and not should_stop():
            if not run_next_job(EMPTY_AFTER.total_seconds()):
                break
    return done


@contextmanager
def _incoming_jobs(done: JobsRun) -> Iterator[Callable[[float], bool]]:
    """Yields a function that runs the next job, if one comes within so many seconds."""
    connection = current_app.connection_for_read(heartbeat=HEARTBEAT_SECONDS)
    lost = (*connection.connection_errors, *connection.channel_errors)
    # A message can come while the connection is being closed, and then goes back unread.
    arrived: deque[Message] = deque()

    def run_next_job(seconds: float) -> bool:
        if not arrived:
            _wait_for_message(connection, seconds)
        if not arrived:
            return False
        _run_job(arrived.popleft(), done)
        return True

    try:
        with (
            connection,
            current_app.amqp.TaskConsumer(
                connection.default_channel,
                on_message=arrived.append,
                # What a worker has fetched ahead waits for nobody else.
                prefetch_count=1,
            ),
        ):
            yield run_next_job
    except lost as error:
        raise ConnectionError(f"The broker is away: {error!r}") from error


def _wait_for_message(connection: Connection, seconds: float) -> None:
    connection.heartbeat_check()
    try:
        connection.drain_events(timeout=seconds)
    except TimeoutError:
        return


def _run_job(message: Message, done: JobsRun) -> None:
    # Before it runs. What dies with the worker the delivery record hands over again, with back-off
    # and a limit; a broker would do so at once and for ever, and a job that kills its worker would
    # keep everybody from working.
    message.ack()
    args, kwargs, _ = message.payload
    close_old_connections()
    outcome = current_app.tasks[message.headers["task"]].apply(
        args,
        kwargs,
        task_id=message.headers["id"],
        headers=message.headers,
        routing_key=message.delivery_info["routing_key"],
        priority=message.properties.get("priority", 0),
    )
    close_old_connections()
    if outcome.successful():
        done.succeeded += 1
    else:
        done.failed += 1
