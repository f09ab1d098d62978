"""The system checks: each mistake has an id, a name, and a way to mend it."""

import gc
from datetime import timedelta

import pytest
from django.core.checks import run_checks
from django.db import connection

from idempotency import (
    FINISHED,
    STARTED,
    Operation,
    RecoveryPoint,
    Response,
    atomic_phase,
    checks,
    foreign_phase,
)
from idempotency.tests.bookshop import PlaceOrder, PlaceOrderSerializably

HOURS = timedelta(hours=20)
SHORT = timedelta(seconds=10)


@pytest.fixture(autouse=True)
def forget_the_broken_operations():
    """So that no later `manage.py check` of this process finds them."""
    yield
    Operation.phases.__func__.cache_clear()
    gc.collect()


def messages_of(operation):
    return {message.id: message for message in checks.check_operation(operation)}


def test_an_operation_that_is_right_has_no_messages():
    assert messages_of(PlaceOrder) == messages_of(PlaceOrderSerializably) == {}


def test_two_phases_for_one_recovery_point():
    class Ambiguous(Operation):
        @atomic_phase(STARTED)
        def one(self):
            return Response(201, {})

        @atomic_phase(STARTED)
        def other(self):
            return Response(201, {})

    assert messages_of(Ambiguous).keys() == {"idempotency.E001"}
    assert "2 phases" in messages_of(Ambiguous)["idempotency.E001"].msg
    assert messages_of(Ambiguous)["idempotency.E001"].obj is Ambiguous


def test_no_phase_for_the_start():
    class Endless(Operation):
        @atomic_phase("begun")
        def begin(self):
            return Response(201, {})

    assert messages_of(Endless).keys() == {"idempotency.E002"}


def test_a_foreign_phase_without_a_commit():
    class Forgetful(Operation):
        @foreign_phase(STARTED, window=HOURS, worst_case=SHORT)
        def call(self):
            return None

    assert messages_of(Forgetful).keys() == {"idempotency.E003"}
    assert "Forgetful.call" in messages_of(Forgetful)["idempotency.E003"].msg


@pytest.mark.parametrize(
    ("worst_case", "expected"),
    [
        (timedelta(seconds=89), set()),
        (timedelta(seconds=90), {"idempotency.E004"}),
        (timedelta(minutes=5), {"idempotency.E004"}),
        (None, {"idempotency.W001"}),
    ],
)
def test_a_foreign_call_that_can_outlast_the_lease(worst_case, expected):
    assert messages_of(calling_for(worst_case)).keys() == expected


def calling_for(worst_case):
    class Slow(Operation):
        @foreign_phase(STARTED, window=HOURS, worst_case=worst_case)
        def call(self):
            return None

        @call.commit
        def keep(self, result):
            return Response(201, {})

    return Slow


def test_the_lease_is_the_one_of_the_settings(settings):
    settings.IDEMPOTENCY = {"LOCK_TIMEOUT": SHORT}

    assert messages_of(calling_for(SHORT)).keys() == {"idempotency.E004"}


def test_atomic_requests(settings, monkeypatch):
    assert checks.check_no_transaction_around_requests() == []

    monkeypatch.setitem(settings.DATABASES["default"], "ATOMIC_REQUESTS", True)
    [message] = checks.check_no_transaction_around_requests()

    assert message.id == "idempotency.E005"
    assert "'default'" in message.msg


@pytest.mark.parametrize(("shortest", "count"), [(19, 1), (20, 0), (255, 0), (256, 1)])
def test_a_shortest_key_that_the_database_does_not_take(settings, shortest, count):
    settings.IDEMPOTENCY = {"KEY_MIN_LENGTH": shortest}

    assert [message.id for message in checks.check_settings()] == ["idempotency.E006"] * count


def test_a_phase_after_the_end():
    class Restless(Operation):
        @atomic_phase(STARTED)
        def begin(self):
            return RecoveryPoint(FINISHED)

        @atomic_phase(FINISHED)
        def go_on(self):
            return Response(201, {})

    assert messages_of(Restless).keys() == {"idempotency.E007"}


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


# Foreign keys.


@pytest.mark.parametrize("namespace", [None, "not a UUID"])
def test_a_namespace_that_is_not_set(settings, namespace):
    assert checks.check_foreign_key_namespace() == []

    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "FOREIGN_KEY_NAMESPACE": namespace}

    assert [m.id for m in checks.check_foreign_key_namespace()] == ["idempotency.E020"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("public_id", []),
        ("email", []),
        ("pk", ["idempotency.W020"]),
        ("id", ["idempotency.W020"]),
        ("passport", ["idempotency.E021"]),
    ],
)
def test_a_users_field_that_is_an_integer_or_is_not_there(settings, field, expected):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "FOREIGN_KEY_USER_FIELD": field}

    messages = checks.check_foreign_key_user_field()

    assert [message.id for message in messages] == expected
    assert all(message.hint for message in messages)


@pytest.mark.parametrize(
    ("kept_for", "expected"),
    [
        (timedelta(days=30) + timedelta(hours=76), ["idempotency.E022"]),
        (timedelta(days=30) + timedelta(hours=76, seconds=1), []),
    ],
)
def test_a_key_that_is_free_again_while_the_foreign_system_still_knows_it(
    settings, kept_for, expected
):
    """76 hours is how far a look-up goes back: 72 of retention, and 4 that the clocks differ by."""

    class Remembered(Operation):
        @foreign_phase(STARTED, window=HOURS, worst_case=SHORT, memory=timedelta(days=30))
        def call(self):
            return None

        @call.commit
        def keep(self, result):
            return Response(201, {})

    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "TOMBSTONE_RETENTION": kept_for}

    messages = checks.check_tombstone_retention()

    assert [message.id for message in messages] == expected
    assert all("Remembered.call" in message.msg for message in messages)


# Finding the operations.


def test_every_operation_is_checked_those_without_phases_are_bases():
    class Base(Operation):
        pass

    class Broken(Base):
        @atomic_phase("begun")
        def begin(self):
            return Response(201, {})

    found = list(checks.all_operations())

    assert {PlaceOrder, PlaceOrderSerializably, Broken} <= set(found)
    assert Base not in found
    assert "idempotency.E002" in {m.id for m in run_checks() if m.obj is Broken}


def test_every_message_says_how_to_mend_it(settings):
    class Wrong(Operation):
        @foreign_phase("begun", window=HOURS)
        def call(self):
            return None

        @atomic_phase("begun")
        def begin(self):
            return Response(201, {})

    assert all(message.hint for message in messages_of(Wrong).values())
    assert len(messages_of(Wrong)) == 4
