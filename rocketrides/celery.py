"""Celery's application of this project, for its worker: `celery -A rocketrides worker`.

Only where the queue is on a broker (`TASKS_BROKER_URL`). What it is set to, `broker` says.
"""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rocketrides.settings")

from celery.signals import worker_ready
from django_tasks_fennel.app import app

__all__ = ["app"]


@worker_ready.connect(weak=False)
def be_seen(**_: Any) -> None:
    """Have the worker seen before its first job."""
    from idempotency.watching.pulse import pulse_of  # only now are the apps loaded

    pulse_of("worker")
