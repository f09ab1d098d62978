"""The settings of a database under which a promise would fail are named by `manage.py check`."""

import pytest
from django.db import connection
from django.db.backends.postgresql.psycopg_any import IsolationLevel

from idempotency.checks import database as checks


def test_atomic_requests(settings, monkeypatch):
    assert checks.check_no_transaction_around_requests() == []

    monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)
    [message] = checks.check_no_transaction_around_requests()

    assert message.id == "idempotency.E005"
    assert "'default'" in message.msg


def test_autocommit(settings, monkeypatch):
    assert checks.check_autocommit() == []

    monkeypatch.setitem(connection.settings_dict, "AUTOCOMMIT", False)

    assert [message.id for message in checks.check_autocommit()] == ["idempotency.E052"]


@pytest.mark.parametrize(
    ("uses_zones", "project_zone", "database_zone", "expected"),
    [
        (True, "Europe/Berlin", None, []),
        (True, "Europe/Berlin", "America/New_York", ["idempotency.E053"]),
        (True, "Europe/Berlin", "Asia/Kolkata", []),
        (False, "Europe/Berlin", None, ["idempotency.E053"]),
        (False, "UTC", None, []),
    ],
)
def test_times_that_a_clock_shows_twice(
    settings, monkeypatch, uses_zones, project_zone, database_zone, expected
):
    settings.USE_TZ, settings.TIME_ZONE = uses_zones, project_zone
    monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", database_zone)
    for kept in ("timezone", "timezone_name"):
        vars(connection).pop(kept, None)

    messages = checks.check_time_zone()

    for kept in ("timezone", "timezone_name"):
        vars(connection).pop(kept, None)
    assert [message.id for message in messages] == expected


@pytest.mark.django_db
@pytest.mark.parametrize("parameter", ["lock_timeout", "idle_in_transaction_session_timeout"])
def test_a_session_without_limits(parameter):
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL {parameter} = '10s'")
        assert parameter not in unlimited()
        cursor.execute(f"SET LOCAL {parameter} = 0")
        assert parameter in unlimited()


def unlimited():
    messages = checks.check_session_limits(databases=["default"])
    assert {message.id for message in messages} <= {"idempotency.W002"}
    return [message.obj for message in messages]


def test_the_database_is_asked_only_when_it_is_named():
    assert checks.check_session_limits(databases=None) == []


def silent(settings, **database):
    settings.DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", **database}}
    messages = checks.check_silent_servers()
    assert {message.id for message in messages} <= {"idempotency.W040"}
    return [message.msg for message in messages]


@pytest.mark.parametrize("host", ["", "/var/run/postgresql", "/one,/other"])
def test_a_server_behind_a_socket_cannot_fall_silent(settings, host):
    assert silent(settings, HOST=host) == []


@pytest.mark.parametrize("host", ["db.example.com", "a,b", "/var/run/postgresql,b"])
def test_a_server_on_a_network_has_a_limit_of_silence(settings, host, monkeypatch):
    limited = {"tcp_user_timeout": 10_000}

    [message] = silent(settings, HOST=host)
    assert "tcp_user_timeout is not set" in message
    assert silent(settings, HOST=host, OPTIONS={"tcp_user_timeout": 0}) != []
    assert silent(settings, HOST=host, OPTIONS=limited) == []

    monkeypatch.delattr("socket.TCP_USER_TIMEOUT")
    [message] = silent(settings, HOST=host, OPTIONS=limited)
    assert "this platform has no tcp_user_timeout" in message


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("read committed", []),
        ("repeatable read", ["idempotency.W041"]),
        ("serializable", ["idempotency.W041"]),
    ],
)
def test_sessions_stricter_than_they_need_be(level, expected):
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('default_transaction_isolation', %s, false)", [level])
        messages = checks.check_isolation(databases=["default"])
        cursor.execute("RESET default_transaction_isolation")

    assert [message.id for message in messages] == expected


@pytest.mark.django_db(transaction=True)
def test_a_driver_that_begins_stricter_transactions_than_the_server(monkeypatch):
    connection.close()
    monkeypatch.setitem(
        connection.settings_dict,
        "OPTIONS",
        {**connection.settings_dict["OPTIONS"], "isolation_level": IsolationLevel.SERIALIZABLE},
    )

    messages = checks.check_isolation(databases=["default"])

    connection.close()
    assert [message.id for message in messages] == ["idempotency.W041"]


@pytest.mark.django_db
def test_a_commit_that_does_not_wait_for_the_disk():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL synchronous_commit = on")
        assert list(checks.check_durability(databases=["default"])) == []
        cursor.execute("SET LOCAL synchronous_commit = off")
        [message] = checks.check_durability(databases=["default"])

    assert (message.id, message.obj) == ("idempotency.W042", "synchronous_commit")


@pytest.mark.django_db
def test_a_database_in_another_encoding(monkeypatch):
    assert checks.check_encoding(databases=["default"]) == []

    monkeypatch.setattr(checks, "_setting_of", lambda databases, parameter: "LATIN1")
    [message] = checks.check_encoding(databases=["default"])

    assert message.id == "idempotency.E054"
    assert "LATIN1" in message.msg


def test_no_database_is_asked_that_is_not_named():
    asking = (checks.check_isolation, checks.check_durability, checks.check_encoding)

    assert [list(check(databases=["other"])) for check in asking] == [[], [], []]
