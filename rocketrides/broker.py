"""How the job queue runs on a broker: Celery's settings for Redis (`redis://…`) or RabbitMQ
(`amqp://…`). Apart from the settings, since nothing here counts until `TASKS_BROKER_URL` is set.
"""

import os
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 10
"""For a connection, and for each answer of Redis. The enqueuer's transaction is open meanwhile."""


def celery_settings(broker_url: str) -> dict[str, Any]:
    """Returns what Celery reads from Django's settings."""
    is_rabbitmq = urlsplit(broker_url).scheme.startswith("amqp")
    # Celery reads it from there too, and the broker's password is on no page of settings.
    os.environ["CELERY_BROKER_URL"] = broker_url
    return {
        "CELERY_BROKER_TRANSPORT_OPTIONS": RABBITMQ_OPTIONS if is_rabbitmq else REDIS_OPTIONS,
        # A failed hand-over is rolled back and tried again by the enqueuer, with its own back-off.
        "CELERY_TASK_PUBLISH_RETRY": False,
        # The delivery record knows what is done.
        "CELERY_TASK_IGNORE_RESULT": True,
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
