"""The system checks of a project: the keys' database, what points at them, how long they stay."""

import gc
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import models, router
from django.test.utils import isolate_apps

from idempotency import STARTED, Operation, Response, conf, foreign_phase
from idempotency.checks import settings as checks
from idempotency.database import reading_where_it_writes
from idempotency.models import IdempotencyKey, JobDelivery, ReaperPosition, StagedJob


@pytest.fixture(autouse=True)
def forget_the_broken_operations():
    """So that no later `manage.py check` of this process finds them."""
    yield
    Operation.phases.__func__.cache_clear()
    gc.collect()


def ids(messages):
    return [message.id for message in messages]


@pytest.mark.django_db
def test_the_project_as_it_is_has_no_messages():
    messages = run_checks(include_deployment_checks=True)

    # Other tests' operations may be in memory still.
    found = {m.id for m in messages if m.id != "idempotency.W050" or "CreateRide" in m.msg}
    assert found.isdisjoint({f"idempotency.{name}" for name in ("E050", "E051", "W050", "W051")})


# The database.


class Elsewhere:
    """A router that sends an app's tables to a database of its own, as projects do."""

    def db_for_read(self, model, **_):
        return "other" if model._meta.app_label == "idempotency" else None

    db_for_write = db_for_read


class NotInDefault:
    def allow_migrate(self, db, app_label, **_):
        return not (db == "default" and app_label == "idempotency")


@pytest.mark.parametrize(
    ("leading", "tables"),
    [
        (Elsewhere, {IdempotencyKey, StagedJob, JobDelivery, ReaperPosition}),
        (NotInDefault, {IdempotencyKey, StagedJob, JobDelivery, ReaperPosition}),
    ],
)
def test_a_router_that_leads_the_tables_elsewhere_is_an_error(settings, leading, tables):
    settings.DATABASE_ROUTERS = [leading()]

    messages = list(checks.check_database())

    assert tables <= {message.obj for message in messages}
    assert set(ids(messages)) == {"idempotency.E050"}
    assert all(message.hint for message in messages)


def test_a_router_that_leads_the_users_away_from_the_keys_is_an_error(settings):
    class UsersElsewhere:
        def db_for_write(self, model, **_):
            return "other" if model is get_user_model() else None

    settings.DATABASE_ROUTERS = [UsersElsewhere()]

    [message] = checks.check_database()

    assert (message.id, message.obj) == ("idempotency.E050", get_user_model())


class ReadsFromReplica:
    def db_for_read(self, model, **_):
        return "replica"

    def db_for_write(self, model, **_):
        return "default"


def test_a_router_whose_replica_would_answer_phases_is_an_error(settings):
    settings.DATABASE_ROUTERS = [ReadsFromReplica()]

    [message] = checks.check_reads_in_phases()

    assert message.id == "idempotency.E055"
    assert "ReadsWhereItWrites" in message.hint


def test_a_replica_behind_the_apps_own_router_is_none(settings):
    settings.DATABASE_ROUTERS = ["idempotency.database.ReadsWhereItWrites", ReadsFromReplica()]

    assert list(checks.check_reads_in_phases()) == []
    assert list(checks.check_database()) == []


def test_a_database_that_is_only_read_is_said_to_be_where_its_models_are_written(settings):
    """Else a phase would look for them in `default`, where they are not."""

    class Legacy:
        def db_for_read(self, model, **_):
            return "legacy" if model is Session else None

    class LegacyForBoth(Legacy):
        db_for_write = Legacy.db_for_read

    settings.DATABASE_ROUTERS = [Legacy()]
    [message] = checks.check_reads_in_phases()
    assert message.obj is Session
    assert "let db_for_write name" in message.hint

    settings.DATABASE_ROUTERS = [LegacyForBoth()]
    assert list(checks.check_reads_in_phases()) == []

    settings.DATABASE_ROUTERS = ["idempotency.database.ReadsWhereItWrites", LegacyForBoth()]
    with reading_where_it_writes():
        assert router.db_for_read(Session) == "legacy"


def test_a_database_that_the_project_does_not_have_is_named(settings):
    settings.IDEMPOTENCY = {"DATABASE": "shop"}

    with pytest.raises(ImproperlyConfigured, match="'shop' as DATABASE, which is none of"):
        conf.database()


def test_a_router_for_other_apps_is_none(settings):
    class Others:
        def db_for_write(self, model, **_):
            return "other" if model._meta.app_label == "sessions" else None

    settings.DATABASE_ROUTERS = [Others()]

    assert list(checks.check_database()) == []


# How long keys stay.


@pytest.mark.parametrize(
    ("seconds", "expected"), [(239, ["idempotency.E051"]), (240, []), (600, [])]
)
def test_a_retention_is_longer_than_a_key_may_take_to_finish(settings, seconds, expected):
    """Twice a lease of 90 seconds, and the minute between two looks of the reaper."""
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "RETENTION": timedelta(seconds=seconds)}

    assert ids(checks.check_retention()) == expected


@pytest.mark.parametrize(("hours", "expected"), [(20_000, ["idempotency.W050"]), (20_001, [])])
def test_a_retention_is_longer_than_a_foreign_window_in_production(
    settings, monkeypatch, hours, expected
):
    class WaitsForDays(Operation):
        @foreign_phase(STARTED, window=timedelta(hours=20_000), worst_case=timedelta(seconds=1))
        def call(self):
            return None

        @call.commit
        def keep(self, result):
            return Response(201, {})

    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "RETENTION": timedelta(hours=hours)}
    monkeypatch.setattr(checks, "all_operations", lambda: [WaitsForDays])

    messages = list(checks.check_retention_and_windows())

    assert ids(messages) == expected
    assert all("WaitsForDays.call" in message.msg for message in messages)


# What points at keys.


@pytest.mark.parametrize(
    ("on_delete", "expected"),
    [
        (models.PROTECT, ["idempotency.W051"]),
        (models.RESTRICT, ["idempotency.W051"]),
        (models.SET_NULL, []),
        (models.CASCADE, []),
    ],
)
def test_a_row_that_protects_its_key_is_told(monkeypatch, on_delete, expected):
    with isolate_apps("idempotency"):

        class Note(models.Model):  # noqa: DJ008
            key = models.ForeignKey(
                IdempotencyKey, on_delete=on_delete, null=True, related_name="+"
            )

            class Meta:
                app_label = "idempotency"

        relation = Note._meta.get_field("key").remote_field
    fields = IdempotencyKey._meta.get_fields(include_hidden=True)
    monkeypatch.setattr(
        type(IdempotencyKey._meta), "get_fields", lambda *_, **__: [*fields, relation]
    )

    messages = list(checks.check_what_points_at_keys())

    assert ids(messages) == expected
    assert all("Note.key" in message.msg for message in messages)
