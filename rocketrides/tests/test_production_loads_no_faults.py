"""With `DEBUG` off nothing can be loaded that loses an answer or kills a process on purpose."""

import subprocess
import sys

import pytest

from rocketrides.environment import BASE_DIR
from rocketrides.tests.test_configuration import PRODUCTION
from sandbox import supervisor

FOR_TESTS = ("idempotency.testing", "proof", "sandbox", "bench")

SERVING = """
import importlib, pkgutil, sys
import rocketrides.asgi
from django.core.management import get_commands, load_command_class
from django.urls import get_resolver
get_resolver().url_patterns
for name, app in get_commands().items():
    if app.startswith(("idempotency", "rides", "django_tasks")):
        load_command_class(app, name)
print(*sorted(sys.modules), sep="\\n")
"""


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=BASE_DIR,
        env=supervisor.environment(**PRODUCTION, DJANGO_SETTINGS_MODULE="rocketrides.settings"),
        capture_output=True,
        text=True,
    )


def test_what_serves_has_loaded_nothing_that_is_for_tests():
    ran = python(SERVING)
    assert ran.returncode == 0, ran.stderr
    loaded = ran.stdout.split()

    assert "rides.operations" in loaded
    assert "rides.management.commands.forget-user" in loaded
    for name in FOR_TESTS:
        found = [module for module in loaded if f"{module}.".startswith(f"{name}.")]
        assert found == [], f"{name} is loaded in production"


@pytest.mark.parametrize("module", ["idempotency.testing", "idempotency.testing.faults"])
def test_the_fault_hooks_refuse_to_be_loaded_in_production(module):
    ran = python(f"import django; django.setup(); import {module}")

    assert ran.returncode != 0
    assert "It is for tests: DEBUG is off" in ran.stderr


def test_the_field_that_fails_a_booking_is_none_of_production():
    ran = python(
        "import django; django.setup()\n"
        "from rides.operations import CreateRide\n"
        "print([*CreateRide.params_form.base_fields], CreateRide.transient_fields)"
    )
    assert "raise_error" not in ran.stdout
    assert "origin_lat" in ran.stdout
