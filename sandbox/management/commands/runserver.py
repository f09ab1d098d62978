"""`manage.py runserver` on the sandbox: Django's own, with all there that a request needs."""

import os
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.management.commands import runserver
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from sandbox.services import prepare_database, running_services


class Command(runserver.Command):
    """Serves what `make start` serves, without the other processes; reloads changed code."""

    default_port = str(settings.PORT)

    def handle(self, *args: Any, **options: Any) -> None:
        # The reloader runs this command again in a child, which finds everything running.
        if os.environ.get(DJANGO_AUTORELOAD_ENV) == "true":
            super().handle(*args, **options)
            return
        with running_services():
            prepare_database()
            super().handle(*args, **options)
