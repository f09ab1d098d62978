"""Celery's application of this project, for its worker: `celery -A rocketrides worker`.

Only where the queue is on a broker (`TASKS_BROKER_URL`). What it is set to, `broker` says.
"""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "rocketrides.settings")

from django_tasks_fennel.app import app

__all__ = ["app"]
