import os
from uuid import UUID

from psycopg2.extensions import parse_dsn

SECRET_KEY = "of-an-example"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "shop"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

database = parse_dsn(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database.pop("dbname"),
        "OPTIONS": database,
        "TEST": {"NAME": "test_ninja"},
    }
}

TILL_URL = os.environ.get("TILL_URL") or f"http://127.0.0.1:{int(os.environ.get('PORT', 8000)) + 1}"

# Adoption.
INSTALLED_APPS += ["idempotency"]
database["options"] = "-c idle_in_transaction_session_timeout=30s -c lock_timeout=10s"
IDEMPOTENCY = {
    "FOREIGN_KEY_NAMESPACE": UUID("2b8f6d3c-8f0b-4a4e-8a3d-5c0e7f1d9a03"),  # draw your own: uuidgen
    "FOREIGN_KEY_USER_FIELD": "username",
}
# End of adoption.
