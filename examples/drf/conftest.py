"""The till and the shop's own server, as processes; and a customer."""

import os
import uuid
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from psycopg2.extensions import make_dsn
from rest_framework.authtoken.models import Token

from shop import till as client
from tests.processes import Process, ask

pytest_plugins = ["idempotency.testing.pytest_plugin"]


class Till:
    def __init__(self, url):
        self.url = url

    def payments(self):
        return [each["id"] for each in ask(f"{self.url}/ledger").body]

    def is_slow(self, *, before=0, after=0):
        ask(f"{self.url}/pace", "PUT", {"before": before, "after": after})

    @contextmanager
    def losing_answers(self):
        """Have a call be carried out, and its answer never arrive."""

        def hang_up(*call, urlopen=client.urlopen, **options):
            urlopen(*call, **options).close()
            raise ConnectionResetError

        with patch.object(client, "urlopen", hang_up):
            yield


@pytest.fixture
def till(settings):
    with Process("till.py {port}") as process:
        settings.TILL_URL = process.url
        yield Till(process.url)


@pytest.fixture
def customer(transactional_db):
    cache.clear()  # the throttle's history
    return User.objects.create(username="ann")


@pytest.fixture
def headers(customer):
    token = Token.objects.create(user=customer)
    return {"Authorization": f"Token {token.key}", "Idempotency-Key": str(uuid.uuid4())}


@pytest.fixture
def server(customer, till):
    """The shop, as it is started in production, with the test's database."""
    name = connection.settings_dict["NAME"]
    environment = {
        "DATABASE_URL": make_dsn(os.environ["DATABASE_URL"], dbname=name),
        "TILL_URL": till.url,
    }
    command = "-m granian --interface wsgi shop.wsgi:application --port {port}"
    with Process(command, environment) as server:
        yield server
