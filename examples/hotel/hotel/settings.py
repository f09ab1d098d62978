import os
from uuid import UUID

from psycopg2.extensions import parse_dsn

SECRET_KEY = "of-an-example"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "hotel.urls"
AUTH_USER_MODEL = "hotel.Guest"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "hotel"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

database = parse_dsn(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database.pop("dbname"),
        "OPTIONS": database,
        "TEST": {"NAME": "test_hotel"},
    }
}

PORT = int(os.environ.get("PORT", "8000"))
ROOMS_URL = os.environ.get("ROOMS_URL", f"http://127.0.0.1:{PORT + 1}")
FLIGHTS_URL = os.environ.get("FLIGHTS_URL", f"http://127.0.0.1:{PORT + 2}")

# Adoption.
INSTALLED_APPS += ["idempotency"]
database["options"] = "-c idle_in_transaction_session_timeout=30s -c lock_timeout=10s"
IDEMPOTENCY = {
    "AUTHENTICATE": "hotel.authentication.guest_of",
    "FOREIGN_KEY_NAMESPACE": UUID("0f4f6c3e-2a57-4c0e-9f0e-6a1c1f1b7d11"),  # draw your own: uuidgen
    "FOREIGN_KEY_USER_FIELD": "public_id",
}
# End of adoption.
