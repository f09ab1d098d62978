"""The service's settings, with django-idempotency-key where the service's own app would be.

Its answers are kept in PostgreSQL, since they are to outlive the process and be seen by both.
"""

from bench.service.settings import *  # noqa: F403
from bench.service.settings import MIDDLEWARE

ROOT_URLCONF = "bench.service.packaged"
MIDDLEWARE = [*MIDDLEWARE, "idempotency_key.middleware.ExemptIdempotencyKeyMiddleware"]
IDEMPOTENCY_KEY = {
    "STORAGE": {"CLASS": "idempotency_key.storage.CacheKeyStorage"},
    "CONFLICT_STATUS_CODE": None,  # a replay has the first answer's status
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "bench_answers",
        "TIMEOUT": 72 * 3600,  # seconds
        "OPTIONS": {"MAX_ENTRIES": 10_000_000},
    }
}
