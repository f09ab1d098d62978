"""The wheel that adopters install: the app, and nothing of the project around it."""

import os
import subprocess
import sys
import zipfile

from idempotency.tests.conftest import ROOT

# A project with the app, outside of this repository; its user is Django's own.
SHOP = """
import uuid

from django.urls import path

SECRET_KEY = "of-a-test"
USE_TZ = True
ROOT_URLCONF = "shop"
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "nowhere"}}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "idempotency"]
IDEMPOTENCY = {"FOREIGN_KEY_NAMESPACE": uuid.uuid4(), "FOREIGN_KEY_USER_FIELD": "username"}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

urlpatterns = []
"""

USE = """
import django, sys
django.setup()
import idempotency
from django.template.loader import get_template
from idempotency import Operation, Response, idempotent, stage_job, stage_operation
assert "site-packages" not in idempotency.__file__ and "installed" in idempotency.__file__
for forbidden in ("rides", "sandbox", "rest_framework", "ninja", "stripe", "pytest"):
    assert forbidden not in sys.modules, forbidden
"""


def test_it_has_every_file_of_the_app_but_its_tests(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(
        ["git", "ls-files", "idempotency"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")

    assert packed == {name for name in tracked if name and "idempotency/tests/" not in name}


def test_it_asks_for_django_and_for_tasks_where_django_has_none(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    [metadata] = [name for name in names if name.endswith("METADATA")]
    lines = zipfile.ZipFile(wheel).read(metadata).decode().split("\n")
    needed = [line for line in lines if line.startswith("Requires-Dist") and "extra" not in line]

    assert needed == [
        "Requires-Dist: django-tasks>=0.12; python_version < '3.12'",
        "Requires-Dist: django>=5.2",
    ]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_a_project_elsewhere_uses_it(installed, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DJANGO")},
        "PYTHONPATH": f"{installed}{os.pathsep}{tmp_path}",
        "DJANGO_SETTINGS_MODULE": "shop",
    }

    for command in (
        ["-c", USE],
        ["-m", "django", "check"],
        ["-m", "django", "makemigrations", "--check", "--dry-run"],
    ):
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr + ran.stdout
