"""Django's settings, read from the environment as `.env.example` lists it.

With nothing set the project runs on its sandbox: an embedded PostgreSQL and a stand-in for Stripe.
With `DEBUG` off it assumes nothing, and refuses to start while a variable that it needs is missing.
"""

import warnings
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import django
from corsheaders.defaults import default_headers
from csp.constants import NONE, SELF, UNSAFE_INLINE

from rocketrides.database import begin_in_schema, database, limits_of_silence, share_connections
from rocketrides.environment import (
    LOCAL_DIR,
    PORTS,
    SECONDS,
    boolean,
    broker,
    cache,
    configured_database_url,
    credential,
    env,
    mail,
    namespace,
    number,
    one_of,
    refuse_to_start,
    schema,
    secret,
    text,
    web_address,
    words,
)

# --- What must be decided before production -------------------------------------------------------

DEBUG = boolean("DEBUG", default=True)
DEMO_AUTH = boolean("DEMO_AUTH", default=DEBUG)

if not DEBUG:
    required = (
        *("SECRET_KEY", "DATABASE_URL", "STRIPE_API_KEY", "ALLOWED_HOSTS"),
        "FOREIGN_KEY_NAMESPACE",
    )
    missing = [name for name in required if not secret(name)]
    if missing:
        refuse_to_start(f"DEBUG is off and these variables are not set: {', '.join(missing)}")
    if DEMO_AUTH:
        refuse_to_start("DEBUG is off and DEMO_AUTH is on, which takes an e-mail for a credential")

# Nothing that has a secret in it is a setting under a name that Django's debug page does not mask:
# such a value has a lower-case name here. The page is searched for them besides.
DEFAULT_EXCEPTION_REPORTER = "rocketrides.debugging.ReporterWithoutSecrets"

SECRET_KEY = secret("SECRET_KEY") or "for-the-sandbox-only-" + "x" * 40
ALLOWED_HOSTS = words("ALLOWED_HOSTS")  # empty with DEBUG on: localhost only
CSRF_TRUSTED_ORIGINS = words("CSRF_TRUSTED_ORIGINS")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG

SILENCED_SYSTEM_CHECKS = ["axes.W001"]  # rides.W005 says it where it matters, and what to do

# TLS ends at a proxy, which says so in X-Forwarded-Proto, and lets no client say it
# (deploy/haproxy.cfg).
HTTPS_ONLY = boolean("HTTPS_ONLY", default=not DEBUG)
if HTTPS_ONLY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^(healthz|readyz|metrics)$"]  # asked behind the proxy, without TLS
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = (
        False  # what else has the name is not ours
    )
    SILENCED_SYSTEM_CHECKS += ["security.W005", "security.W021"]

# Which other sites' pages may ask the API, by an API key: none unless said. No cookie goes along.
CORS_ALLOWED_ORIGINS = words("CORS_ALLOWED_ORIGINS")
CORS_ALLOW_HEADERS = (*default_headers, "idempotency-key", "prefer", "x-request-id")
CORS_EXPOSE_HEADERS = ("Idempotent-Replayed", "Retry-After", "Location", "Link", "X-Request-Id")

# Nothing but our own files, and no script in a page; the form's pages have their style in them.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        **{"default-src": [SELF], "style-src": [SELF, UNSAFE_INLINE], "img-src": [SELF, "data:"]},
        **{"object-src": [NONE], "base-uri": [NONE], "form-action": [SELF]},
        "frame-ancestors": [NONE],
    }
}

# --- The sandbox: what stands in for whatever is not configured -----------------------------------

PORT = number("PORT", PORTS, default=5000)

database_url = configured_database_url()
STRIPE_API_KEY = credential("STRIPE_API_KEY")
STRIPE_API_KEY_FILE = text("STRIPE_API_KEY_FILE")  # looked at before each call, for a rotation
STRIPE_API_BASE = web_address("STRIPE_API_BASE")

if DEMO_AUTH and STRIPE_API_KEY.startswith(("sk_live_", "rk_live_")):
    refuse_to_start(
        "DEMO_AUTH is on and STRIPE_API_KEY is a live one: anybody could charge any card"
    )

EMBEDDED_POSTGRES = not database_url
STRIPE_STAND_IN = not STRIPE_API_KEY and not STRIPE_API_BASE
STRIPE_STAND_IN_PORT = number("SANDBOX_STRIPE_PORT", PORTS, default=12111)

if EMBEDDED_POSTGRES:
    from sandbox import postgres

    database_url = postgres.database_url(LOCAL_DIR / "postgres")

# Several at once while one takes another's place. Without any, Stripe's events have no address.
STRIPE_WEBHOOK_SECRETS = words("STRIPE_WEBHOOK_SECRET")

if STRIPE_STAND_IN:
    STRIPE_WEBHOOK_SECRETS = STRIPE_WEBHOOK_SECRETS or ["whsec_sandbox"]
    STRIPE_API_BASE = f"http://127.0.0.1:{STRIPE_STAND_IN_PORT}"

STRIPE_API_KEY = STRIPE_API_KEY or "sk_test_sandbox"
STRIPE_API_BASE = STRIPE_API_BASE or "https://api.stripe.com"

# Where a bank's page leads the rider back to. All processes send the same one with a payment.
PAYMENT_RETURN_URL = web_address("PAYMENT_RETURN_URL")
if not PAYMENT_RETURN_URL and DEBUG:
    PAYMENT_RETURN_URL = "http://127.0.0.1:5000/"
elif not PAYMENT_RETURN_URL:
    hosts = [host for host in ALLOWED_HOSTS if not host.startswith(("*", "."))]
    if not hosts:
        refuse_to_start(
            "PAYMENT_RETURN_URL is not set, and ALLOWED_HOSTS has no whole name to make it of"
        )
    PAYMENT_RETURN_URL = f"https://{hosts[0]}/"

# --- The application ------------------------------------------------------------------------------

INSTALLED_APPS = [
    *(["sandbox"] if EMBEDDED_POSTGRES or STRIPE_STAND_IN else []),
    "rides.apps.RidesConfig",
    "idempotency",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",  # for the BRIN index of the rides
    "django.contrib.staticfiles",
    *(["django_tasks"] if django.VERSION < (6, 0) else []),
    "django_tasks_db",
    "corsheaders",
    "axes",
]

MIDDLEWARE = [
    "idempotency.http.request_ids.request_ids",
    "rocketrides.hosts.refuse_unknown_hosts",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "rocketrides.urls"
WSGI_APPLICATION = "rocketrides.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

STATIC_URL = "static/"
# Only the admin has static files, and WhiteNoise finds them where they are: there is no build step.
WHITENOISE_USE_FINDERS = True
# For a platform that runs `collectstatic` all the same. WhiteNoise warns where nobody did.
STATIC_ROOT = LOCAL_DIR / "static"
warnings.filterwarnings("ignore", "No directory at", module="django")

AUTH_USER_MODEL = "rides.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # asked first, before a password is looked at
    "rides.authentication.PasswordBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# Wrong passwords are counted by address, in the cache and in no table.
CACHES = {"default": cache("CACHE_URL")}
AXES_HANDLER = "axes.handlers.cache.AxesCacheHandler"
MIGRATION_MODULES = {"axes": None}  # its tables are its other handler's
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False  # no e-mail address in the log, but whose address to look at
AXES_SENSITIVE_PARAMETERS = ["username"]
AXES_CLIENT_IP_CALLABLE = "rides.signins.address_of"
AXES_LOCKOUT_PARAMETERS = ["ip_address"]
AXES_LOCKOUT_CALLABLE = "rides.signins.refuse"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False

USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

IDEMPOTENCY: dict[str, Any] = {
    name: timedelta(seconds=number(f"{name}_SECONDS", SECONDS))
    for name in (
        "LOCK_TIMEOUT",
        "COMPLETER_GRACE",
        "COMPLETER_PAUSE",
        "RETENTION",
        "REDELIVERY_AFTER",
        "JOB_LIMIT",
    )
    if text(f"{name}_SECONDS")
}
IDEMPOTENCY["AUTHENTICATE"] = "rides.authentication.rider_of"

IDEMPOTENCY["DOCUMENTATION_URL"] = "/docs"

# Which installation an API key belongs to: each further one has a number of its own, for ever.
CELL = number("CELL", range(1, 10_000), default=1)

# With DEBUG off the variable is there: two installations on one Stripe account must differ.
IDEMPOTENCY["FOREIGN_KEY_NAMESPACE"] = namespace(
    "FOREIGN_KEY_NAMESPACE", default="6f1d2f0e-52c4-4a7e-9b1c-7d3a90e4c815"
)
IDEMPOTENCY["FOREIGN_KEY_USER_FIELD"] = "public_id"
IDEMPOTENCY["READINESS_WARNINGS"] = (
    "rides.watching.latest_warnings",
    "idempotency.support.refusals.refusal_warnings",
    "idempotency.watching.latest.latest_alarms",
)
# How often each process tells what it has counted, for the console; 0 is never.
pulse = number("PULSE_SECONDS", SECONDS, default=10)
IDEMPOTENCY["PULSE"] = timedelta(seconds=pulse) if pulse else None
# What Prometheus shows at /metrics, which is a 404 to everybody else.
metrics_token = secret("METRICS_TOKEN") or ("of-the-demo" if DEBUG else "")
IDEMPOTENCY["METRICS_TOKEN"] = metrics_token
if (folder := text("PROMETHEUS_MULTIPROC_DIR")) and not Path(folder).is_dir():
    refuse_to_start(f"PROMETHEUS_MULTIPROC_DIR names no folder: {folder}")
IDEMPOTENCY["VERSION"] = text("RELEASE")  # shown with each process
# A rider has a few requests under way at a time; who has more is trying something.
IDEMPOTENCY["MAX_UNFINISHED"] = number("MAX_UNFINISHED", range(1, 1_000_001), default=100)
IDEMPOTENCY["COMPLETER_RATE"] = number("COMPLETER_RATE", range(1, 100_001), default=50)
IDEMPOTENCY["TRUSTED_PROXIES"] = tuple(words("TRUSTED_PROXIES"))
try:
    [ip_network(network) for network in IDEMPOTENCY["TRUSTED_PROXIES"]]
except ValueError as error:
    refuse_to_start(f"TRUSTED_PROXIES names no network: {error}")

# --- The door before Django (`rocketrides/door/`), in each process of the API ---------------------

# How many requests are worked on, and how many of these do more than wait for Stripe: twice as many
# as have a connection are enough to keep a core busy.
API_THREADS = number("API_THREADS", range(1, 1025), default=128)
API_ACTIVE = number("API_ACTIVE", range(1, 1025), default=16)
# A duplicate that waits for the first's answer is one of these, and calls nobody.
IDEMPOTENCY["WAIT_PLACES"] = max(1, API_ACTIVE // 8)
# How many requests may wait for a thread, and for how many seconds: about as many as a process
# answers in a second, since a client that waits longer for its turn is better told to come back.
API_QUEUE = number("API_QUEUE", range(100_001), default=200)
API_QUEUE_SECONDS = number("API_QUEUE_SECONDS", SECONDS, default=1)
BODY_SECONDS = number("BODY_SECONDS", SECONDS, default=10)
# Asked to stop: how long it only says so, and how long the requests in hand may then take. None is
# the worst case of the operations' foreign calls.
STOP_NOTICE_SECONDS = number("STOP_NOTICE_SECONDS", SECONDS, default=0)
STOP_GRACE_SECONDS = number("STOP_GRACE_SECONDS", SECONDS) if text("STOP_GRACE_SECONDS") else None

# --- PostgreSQL, and the queue in it --------------------------------------------------------------

DATABASES = {"default": database(database_url)}
# Kept open for good and not pinged before each request, which would cost a statement. When the
# server restarts, the request that meets a dead connection begins again on a new one.
DATABASES["default"].setdefault("CONN_MAX_AGE", None)
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 5,
    "fallback_application_name": "rocketrides",
    **limits_of_silence(number("DATABASE_SILENCE_SECONDS", SECONDS, default=10)),
    # One value, so that it can be emptied for a PgBouncer that refuses startup options.
    "options": env.str(
        "DATABASE_SESSION_OPTIONS",
        default="-c idle_in_transaction_session_timeout=30s -c lock_timeout=10s",
    ),
    **DATABASES["default"].get("OPTIONS", {}),
}
# The schema with all tables of this cell. Empty: the one that PostgreSQL takes for everybody.
DATABASE_SCHEMA = schema("DATABASE_SCHEMA")
begin_in_schema(DATABASES["default"], DATABASE_SCHEMA)
if DATABASE_POOL_SIZE := number("DATABASE_POOL_SIZE", range(1025)):
    share_connections(DATABASES["default"], DATABASE_POOL_SIZE)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}

broker_url = broker("TASKS_BROKER_URL")
if broker_url:
    from rocketrides.broker import celery_settings

    TASKS = {"default": {"BACKEND": "idempotency.jobs.backends.CeleryBackend"}}
    INSTALLED_APPS.append("django_tasks_fennel")
    vars().update(celery_settings(broker_url))

# --- E-mail ---------------------------------------------------------------------------------------

if mail_settings := mail("EMAIL_URL"):
    vars().update(mail_settings)
elif DEBUG:
    EMAIL_BACKEND = "sandbox.mail.EmailBackend"  # which keeps the latest only
    EMAIL_FILE_PATH = str(LOCAL_DIR / "mail")
EMAIL_TIMEOUT = 10  # seconds
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="Rocket Rides <rides@example.com>")

# --- Logs: one line an event, to standard error ---------------------------------------------------

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_LEVEL = one_of("LOG_LEVEL", LEVELS, default="INFO")
# A line for people, or an object of JSON for whatever collects them.
LOG_FORMAT = one_of("LOG_FORMAT", ("line", "json"), default="line" if DEBUG else "json")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"()": "rocketrides.logs.LineFormatter"},
        "json": {"()": "rocketrides.logs.JsonFormatter", "json_ensure_ascii": False},
    },
    "filters": {"context": {"()": "idempotency.watching.logs.AddContext"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["context"],
        }
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"level": LOG_LEVEL},  # named, so that it loses the handlers Django gave it
        "django.request": {"level": "ERROR"},  # a client's 4xx is an answer, not an event
        # Else several lines for each call, and for each look into the empty queue.
        "stripe": {"level": "WARNING"},
        "django_tasks": {"level": "WARNING"},
        "django.tasks": {"level": "WARNING"},
        "django_tasks_db": {"level": "WARNING"},
        "celery": {"level": "WARNING"},
        "kombu": {"level": "WARNING"},
    },
}
