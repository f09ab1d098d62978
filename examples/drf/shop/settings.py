import os
from uuid import UUID

from psycopg2.extensions import parse_dsn

SECRET_KEY = "of-an-example"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "shop",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

database = parse_dsn(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database.pop("dbname"),
        "OPTIONS": database,
        "TEST": {"NAME": "test_drf"},
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.ScopedRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"orders": "20/min"},
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "shop.errors.answer_for",
}
SPECTACULAR_SETTINGS = {"TITLE": "Shop", "VERSION": "1"}

TILL_URL = os.environ.get("TILL_URL") or f"http://127.0.0.1:{int(os.environ.get('PORT', 8000)) + 1}"

# Adoption.
INSTALLED_APPS += ["idempotency"]
database["options"] = "-c idle_in_transaction_session_timeout=30s -c lock_timeout=10s"
IDEMPOTENCY = {
    "FOREIGN_KEY_NAMESPACE": UUID("6f1f1f0a-5f0e-4b57-9a65-3d8f2b9c4d02"),  # draw your own: uuidgen
    "FOREIGN_KEY_USER_FIELD": "username",
}
# End of adoption.
