"""How the job queue runs on a broker: Celery's settings for Redis (`redis://…`) or RabbitMQ
(`amqp://…`). Apart from the settings, since nothing here counts until `TASKS_BROKER_URL` is set.
"""

import os
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 10
"""For a connection, and for each answer of Redis."""


def celery_settings(broker_url: str) -> dict[str, Any]:
    """Return what Celery reads from Django's settings."""
    is_rabbitmq = urlsplit(broker_url).scheme.startswith("amqp")
    # Celery reads it from there too, and the broker's password is on no page of settings.
    os.environ["CELERY_BROKER_URL"] = broker_url
    return {
        "CELERY_BROKER_TRANSPORT_OPTIONS": RABBITMQ_OPTIONS if is_rabbitmq else REDIS_OPTIONS,
        # A failed hand-over is the enqueuer's to repeat, with its own back-off.
        "CELERY_TASK_PUBLISH_RETRY": False,
        # The delivery record knows what is done.
        "CELERY_TASK_IGNORE_RESULT": True,
        # The one task that the queue runs.
        "CELERY_IMPORTS": ["idempotency.jobs.delivering"],
        # What a worker has fetched ahead waits for nobody else.
        "CELERY_WORKER_PREFETCH_MULTIPLIER": 1,
        # Its log lines are ours, in the form that the settings give them.
        "CELERY_WORKER_HIJACK_ROOT_LOGGER": False,
        # A broker that is away is waited for, at the start as well.
        "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
        "CELERY_BROKER_CONNECTION_MAX_RETRIES": None,
        # How soon RabbitMQ and a worker notice that there is no way between them any more.
        "CELERY_BROKER_HEARTBEAT": 60,
    }


REDIS_OPTIONS = {
    "socket_connect_timeout": TIMEOUT_SECONDS,
    "socket_timeout": TIMEOUT_SECONDS,
}

RABBITMQ_OPTIONS = {
    "connect_timeout": TIMEOUT_SECONDS,
    # Without it a message is sent, and nobody knows whether it has arrived.
    "confirm_publish": True,
}
