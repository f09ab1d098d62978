"""The service's settings for a chaos run: minutes are seconds, the isolation can be chosen, and
there is a second operation, which pays at a ledger.
"""

import os
from datetime import timedelta

from rocketrides.settings import *  # noqa: F403
from rocketrides.settings import IDEMPOTENCY, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "proof.chaos.apps.ChaosConfig"]

ROOT_URLCONF = "proof.chaos.urls"
LEDGER_URL = os.environ["LEDGER_URL"]

IDEMPOTENCY = {
    **IDEMPOTENCY,
    "LOCK_TIMEOUT": timedelta(seconds=5),
    "COMPLETER_GRACE": timedelta(seconds=3),
    "COMPLETER_PAUSE": timedelta(seconds=1),
    "COMPLETER_PAUSE_LIMIT": timedelta(seconds=4),
    "MAX_ATTEMPTS": 1000,
    "IDLE_PAUSE": timedelta(milliseconds=300),
    "COMPLETER_IDLE_PAUSE": timedelta(milliseconds=300),
    "REDELIVERY_AFTER": timedelta(seconds=3),
    "JOB_LIMIT": timedelta(seconds=5),
    "MAX_DELIVERIES": 30,
}
