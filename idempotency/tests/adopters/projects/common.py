"""What the projects have in common: a shop whose users are rows of its own, and no `auth`.

Each of the others says what is its own. They run from the wheel, as processes.
"""

import os
from datetime import timedelta
from typing import Any
from uuid import UUID

SECRET_KEY = "of-a-test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "shop.urls"
USE_TZ = True
INSTALLED_APPS = ["shop", "idempotency", "django_tasks_db"]
AUTH_USER_MODEL = "shop.Account"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
LEDGER_URL = os.environ["LEDGER_URL"]

IDEMPOTENCY: dict[str, Any] = {
    "AUTHENTICATE": "shop.authentication.account_of",
    "FOREIGN_KEY_NAMESPACE": UUID("6c1f4f56-8d0d-4f0b-9d0e-0d5f7e0a4f52"),
    "FOREIGN_KEY_USER_FIELD": "public_id",
    "COMPLETER_GRACE": timedelta(0),
    "COMPLETER_PAUSE": timedelta(0),
    "LOCK_TIMEOUT": timedelta(seconds=30),
}


def postgres(suffix: str = "") -> dict[str, Any]:
    """Return the settings of one of the test's databases."""
    limits = "-c idle_in_transaction_session_timeout=30s -c lock_timeout=10s"
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["ADOPTERS_DATABASE"] + suffix,
        "OPTIONS": {"options": limits, "tcp_user_timeout": 10_000},
    }


DATABASES = {"default": postgres()}
