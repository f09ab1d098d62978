"""What else than a session can hold vacuum back is found on a real pair of servers."""

import contextlib
import tempfile
from pathlib import Path

import psycopg2
import pytest

from idempotency.workers.snapshots import SNAPSHOTS
from proof.chaos.pair import Pair, ask, ask_service, wait_until
from sandbox import postgres

FEEDBACK = ("hot_standby_feedback = on", "wal_receiver_status_interval = 1")


@pytest.fixture(scope="module")
def pair():
    with tempfile.TemporaryDirectory(prefix="pair-") as folder:
        Path(folder).chmod(0o755)
        servers = Pair(Path(folder))
        servers.start()
        ask(servers.primary, "ALTER SYSTEM SET max_prepared_transactions = 2")
        servers.restart_in_good_order()
        try:
            yield servers
        finally:
            servers.stop()


@pytest.fixture(scope="module")
def standby(pair):
    """A standby that tells the primary what its readers still need."""
    server = pair._standby()
    for setting in FEEDBACK:
        ask(server, f"ALTER SYSTEM SET {setting}")
    ask(server, "SELECT pg_reload_conf()")
    return server


def holders(pair):
    url = postgres.url(pair.primary, postgres.DATABASE)
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(SNAPSHOTS)
        return [holder for holder, _, _ in cursor.fetchall()]


def are_held_by(pair, name):
    wait_until(lambda: any(holder.startswith(name) for holder in holders(pair)))


def test_a_forgotten_prepared_transaction(pair):
    url = postgres.url(pair.primary, postgres.DATABASE)
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.tpc_begin("forgotten")
        connection.cursor().execute("CREATE TABLE unfinished ()")
        connection.tpc_prepare()
    try:
        are_held_by(pair, "prepared_transaction=forgotten")
    finally:
        ask_service(pair.primary, "ROLLBACK PREPARED 'forgotten'")
    assert not [each for each in holders(pair) if each.startswith("prepared")]


def test_a_standby_that_feeds_back(pair, standby):
    are_held_by(pair, "standby=walreceiver xmin=")


def test_a_slot_that_nobody_reads_any_more(pair, standby):
    ask(pair.primary, "SELECT pg_create_physical_replication_slot('left')")
    ask(standby, "ALTER SYSTEM SET primary_slot_name = 'left'")
    ask(standby, "SELECT pg_reload_conf()")
    are_held_by(pair, "replication_slot=")

    postgres.stop(standby)

    are_held_by(pair, "replication_slot=")
