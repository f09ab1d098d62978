"""What a PostgreSQL that is stopped without a word looks like from here.

With a server of the test's own, since nobody else wants theirs stopped.
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2.extensions
import pytest
from django.db import Error, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from idempotency.database_errors import database_is_away
from sandbox import postgres


@pytest.fixture
def server() -> Iterator[Path]:
    # Not in `tmp_path`, which lies in a folder that nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="restarts-") as name:
        folder = Path(name) / "postgres"
        postgres.database_url(folder)
        yield folder
        postgres.stop(folder)


@pytest.fixture
def connected(server: Path) -> Iterator[BaseDatabaseWrapper]:
    wrapper = connection.copy()
    address = psycopg2.extensions.parse_dsn(postgres.url(server, postgres.DATABASE))
    place = {name.upper(): address[name] for name in ("host", "port", "user")}
    wrapper.settings_dict = {**wrapper.settings_dict, **place, "NAME": address["dbname"]}
    with closing(wrapper):
        yield wrapper


@pytest.mark.django_db(transaction=True)
def test_a_server_that_was_stopped_at_once_is_away(server, connected):
    with connected.cursor() as cursor:
        cursor.execute("SELECT 1")
        postgres.pg_ctl(server, "stop", "--mode=immediate")

        with pytest.raises(Error) as lost:
            cursor.execute("SELECT 1")

    assert database_is_away(lost.value), repr(lost.value)
