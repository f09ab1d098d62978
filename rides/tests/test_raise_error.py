"""`raise_error` is the demonstration's: in production it is a field that nobody knows."""

import os
import subprocess
import sys

import pytest

from rocketrides.environment import BASE_DIR

CHECK = """
import django
django.setup()
from idempotency.http.bodies import Sent
from idempotency.http.refusals import ParametersInvalid
from idempotency.http.shapes import kept_by_form
from rides.operations import CreateRide

places = {"origin_lat": "0", "origin_lon": "0", "target_lat": "0", "target_lon": "0"}
try:
    sent = Sent({**places, "raise_error": "true"})
    kept_by_form(sent, CreateRide.params_form, CreateRide.transient_fields)
except ParametersInvalid as error:
    print(error.status, error)
else:
    print("taken")
"""


@pytest.mark.parametrize(("demo", "said"), [("true", "taken"), ("false", "422 raise_error:")])
def test_raise_error_is_known_in_the_demonstration_only(demo: str, said: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=BASE_DIR,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "rocketrides.settings",
            "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nowhere",
            "STRIPE_API_KEY": "sk_test_of_no_consequence",
            "DEMO_AUTH": demo,
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert result.stdout.startswith(said), result.stderr
