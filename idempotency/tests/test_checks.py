"""The system checks: each mistake has an id, a name, and a way to mend it."""

import gc
from datetime import timedelta

import pytest
from django.core.checks import run_checks

from idempotency import (
    FINISHED,
    SERIALIZABLE,
    STARTED,
    Operation,
    RecoveryPoint,
    Response,
    atomic_phase,
    foreign_phase,
)
from idempotency.checks import operations as checks
from idempotency.exceptions import Parked
from idempotency.operations import operation_named
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


@pytest.mark.parametrize("name", ["key", "user", "params", "foreign_key", "phases", "for_key"])
def test_a_name_that_the_library_has(name):
    own = {name: atomic_phase(STARTED)(lambda self: Response(201, {}))}
    colliding = type("Colliding", (Operation,), own)

    [message] = checks._check_names_of_methods(colliding)

    assert message.id == "idempotency.E010"
    assert f"Colliding.{name} overrides an attribute of the library." == message.msg


def test_what_an_operation_may_override_is_no_collision():
    class Overriding(PlaceOrder):
        isolation = SERIALIZABLE

        def may_go_on(self):
            return False

        def clean_up(self):
            pass

    assert messages_of(Overriding) == {}


def test_no_phase_for_the_start():
    class Endless(Operation):
        @atomic_phase("begun")
        def begin(self):
            return Response(201, {})

    assert messages_of(Endless).keys() == {"idempotency.E002"}


def test_a_foreign_phase_without_a_commit():
    class Forgetful(Operation):
        @foreign_phase(STARTED, window=HOURS, worst_case=SHORT)
        def ask(self):
            return None

    assert messages_of(Forgetful).keys() == {"idempotency.E003"}
    assert "Forgetful.ask" in messages_of(Forgetful)["idempotency.E003"].msg


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
        def ask(self):
            return None

        @ask.commit
        def keep(self, result):
            return Response(201, {})

    return Slow


def test_the_lease_is_the_one_of_the_settings(settings):
    settings.IDEMPOTENCY = {"LOCK_TIMEOUT": SHORT}

    assert messages_of(calling_for(SHORT)).keys() == {"idempotency.E004"}


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


# Foreign keys.


@pytest.mark.parametrize("namespace", [None, "not a UUID"])
def test_a_namespace_that_is_not_set(settings, monkeypatch, namespace):
    assert checks.check_foreign_key_namespace() == []

    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "FOREIGN_KEY_NAMESPACE": namespace}

    assert [m.id for m in checks.check_foreign_key_namespace()] == ["idempotency.E020"]
    monkeypatch.setattr("idempotency.checks.operations.all_operations", lambda: iter(()))
    assert checks.check_foreign_key_namespace() == [], "views have no foreign system"


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
        def ask(self):
            return None

        @ask.commit
        def keep(self, result):
            return Response(201, {})

    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "TOMBSTONE_RETENTION": kept_for}

    messages = checks.check_tombstone_retention()

    assert [message.id for message in messages] == expected
    assert all("Remembered.ask" in message.msg for message in messages)


# Names.


def test_an_operation_is_named_by_its_app_and_class_or_as_it_is_written():
    class Renamed(PlaceOrder):
        name = "shop.orders.place"
        renamed_from = ("shop.Order",)

    class Again(Renamed):
        pass

    assert PlaceOrder.name == "idempotency.PlaceOrder"
    assert PlaceOrderSerializably.name == "idempotency.PlaceOrderSerializably"
    assert (Renamed.name, Renamed.renamed_from) == ("shop.orders.place", ("shop.Order",))
    assert (Again.name, Again.renamed_from) == ("idempotency.Again", ())
    assert [Renamed.is_named(name) for name in ("shop.Order", "shop.Gone")] == [True, False]


@pytest.mark.parametrize(
    "names",
    [
        {"name": "idempotency.PlaceOrder"},
        {"name": "shop.Place", "renamed_from": ("idempotency.PlaceOrder",)},
    ],
)
def test_two_operations_of_one_name_are_an_error_and_no_key_is_given_to_either(names):
    twin = type("Twin", (PlaceOrder,), names)

    said = [message.msg for message in checks.check_names() if message.id == "idempotency.E030"]

    [message] = [text for text in said if "'idempotency.PlaceOrder'" in text]
    assert message.startswith("2 operations are named ")
    assert {PlaceOrder, twin} <= set(checks.all_operations())
    with pytest.raises(Parked, match="More than one"):
        operation_named("idempotency.PlaceOrder")


@pytest.mark.parametrize("name", ["", "n" * 256, 7])
def test_a_name_that_a_key_cannot_hold(name):
    class Misnamed(PlaceOrder):
        renamed_from = (name,)

    assert set(messages_of(Misnamed)) == {"idempotency.E031"}


def test_a_worker_finds_the_operations_of_modules_that_nothing_else_imports(settings):
    assert operation_named("rides.CreateRide").__name__ == "CreateRide"


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
        def ask(self):
            return None

        @atomic_phase("begun")
        def begin(self):
            return Response(201, {})

    assert all(message.hint for message in messages_of(Wrong).values())
    assert len(messages_of(Wrong)) == 4


def test_what_is_followed_can_be_withdrawn_and_what_is_withdrawn_followed():
    class Followed(Operation):
        @foreign_phase(STARTED, window=timedelta(hours=1), worst_case=timedelta(seconds=1))
        def send(self):
            return None

        @send.follow
        def ask(self, reference):
            return None

        @send.commit
        def keep(self, nothing):
            return Response(200)

    class Withdrawn(Operation):
        @foreign_phase(STARTED, window=timedelta(hours=1), worst_case=timedelta(seconds=1))
        def ask(self):
            return None

        @ask.withdraw
        def cancel(self, reference):
            return None

        @ask.commit
        def keep(self, nothing):
            return Response(200)

    assert messages_of(Followed).keys() == {"idempotency.E012"}
    assert messages_of(Withdrawn).keys() == {"idempotency.E011"}
