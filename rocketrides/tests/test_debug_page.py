"""Django's debug pages show no secret: not in the settings, the environment, or a frame."""

import html
import os
import subprocess
import sys

from rocketrides.environment import BASE_DIR

CANARIES = {
    "DATABASE_URL": "postgres://owner:CANARY-database-%23%26%27@127.0.0.1:1/rides",
    "SECRET_KEY": "CANARY-django-key" * 3,
    "STRIPE_API_KEY": "sk_test_CANARY",
    "STRIPE_WEBHOOK_SECRET": "whsec_CANARY,whsec_CANARY_old",
    "EMAIL_URL": "smtp://mailer:CANARY-mail@127.0.0.1:1",
}
BROKER = "amqp://queue:CANARY-broker@127.0.0.1:1//"

ASKING = """
import os, django
django.setup()
from django.test import Client
from django.test.utils import setup_test_environment

client = Client(raise_request_exception=False, SERVER_NAME="localhost", **os.environ)
{ask}
print(answer.status_code)
print(answer.content.decode())
"""
# The database is away: the frames have the parameters of the connection among their variables.
FAILING = """
answer = client.post("/admin/login/", {"username": "a@example.com", "password": "CANARY-login"})
"""


def run(code: str, **variables: str) -> str:
    quiet = {"DEBUG": "true", "LOG_LEVEL": "CRITICAL", "STRIPE_API_BASE": "http://127.0.0.1:1"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=BASE_DIR,
        env={
            **os.environ,
            **CANARIES,
            **quiet,
            "DJANGO_SETTINGS_MODULE": "rocketrides.settings",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_page_of_all_settings_and_frames_shows_no_secret() -> None:
    said = run(ASKING.format(ask=FAILING))

    answered, _, page = said.partition("\n")
    assert answered == "500"
    assert "OperationalError" in page
    assert "Using settings module" in page
    assert "DATABASES" in page
    found = [line for line in page.splitlines() if "CANARY" in line and "CANARY-login" not in line]
    assert found == []
    assert "-database-" not in html.unescape(page)


def test_no_setting_with_a_secret_has_a_name_that_is_not_masked() -> None:
    code = (
        "from rocketrides import settings; from django.conf import settings as s; s.configure(); "
        "from django.views.debug import SafeExceptionReporterFilter as Filter; "
        "names = [name for name in dir(settings) if name.isupper()]; "
        "print({name: Filter().cleanse_setting(name, getattr(settings, name)) for name in names})"
    )

    shown = run(code, TASKS_BROKER_URL=BROKER)

    assert "'DATABASES'" in shown
    assert "CELERY_BROKER_TRANSPORT_OPTIONS" in shown
    assert "CANARY" not in shown
