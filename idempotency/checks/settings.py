"""System checks of what the keys stand in: their database, what points at them, how long they stay.

Those of operations and of single settings are in `operations`.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import models, router

from idempotency import conf
from idempotency.database import ALIAS, reading_where_it_writes
from idempotency.models import IdempotencyKey
from idempotency.operations import all_operations
from idempotency.phases import ForeignPhase, UndoPhase
from idempotency.support.positions import LOOK_AT_ALL_EVERY_SECONDS


@register()
def check_database(**_: Any) -> Iterator[CheckMessage]:
    """The statements that hold the guarantees are sent to `DATABASE`, whatever a router says."""
    for model in apps.get_app_config("idempotency").get_models():
        if router.db_for_write(model) != ALIAS or not router.allow_migrate_model(ALIAS, model):
            yield Error(
                f"{model._meta.label} belongs to another database than {ALIAS!r}, to which the "
                "app's own statements go.",
                hint="Let DATABASE_ROUTERS lead the app `idempotency` to the DATABASE of "
                "IDEMPOTENCY, with the users, and the tables that its operations write in the same "
                "transactions.",
                obj=model,
                id="idempotency.E050",
            )
    user = get_user_model()
    if router.db_for_write(user) != ALIAS:
        yield Error(
            f"{user._meta.label} belongs to another database than {ALIAS!r}, where each key "
            "references its user.",
            hint="Let DATABASE_ROUTERS lead the users to the DATABASE of IDEMPOTENCY.",
            obj=user,
            id="idempotency.E050",
        )


@register()
def check_reads_in_phases(**_: Any) -> Iterator[CheckMessage]:
    """A phase reads what the one before it has committed, which a replica may not have yet."""
    with reading_where_it_writes():
        elsewhere = [
            model
            for model in apps.get_models()
            if router.db_for_read(model) != router.db_for_write(model)
        ]
    if elsewhere:
        yield Error(
            f"A phase that reads {elsewhere[0]._meta.label} is led to "
            f"{router.db_for_read(elsewhere[0])!r}, which may not have yet what the phase before "
            "it has committed.",
            hint='Put "idempotency.database.ReadsWhereItWrites" before the others in '
            "DATABASE_ROUTERS. Of a model that nobody writes, let db_for_write name the database "
            "that it is read from.",
            obj=elsewhere[0],
            id="idempotency.E055",
        )


@register()
def check_retention(**_: Any) -> Iterator[CheckMessage]:
    """The reaper takes no answer before a key that may yet finish. It looks for those once a
    minute, and sees none that an open transaction has claimed, which ends before its lease does.
    """
    settings = conf.current()
    least = 2 * settings.lock_timeout + timedelta(seconds=LOOK_AT_ALL_EVERY_SECONDS)
    if settings.retention < least:
        yield Error(
            f"RETENTION is {settings.retention}, and a key that is being finished may be that old: "
            f"its lease lasts {settings.lock_timeout}.",
            hint=f"Set it to {least} or more.",
            id="idempotency.E051",
        )


@register(deploy=True)
def check_retention_and_windows(**_: Any) -> Iterator[CheckMessage]:
    """What waits for a foreign system in an outage goes to a person when its retention ends."""
    windows = [
        (phase.window, f"{operation.__qualname__}.{phase.name}")
        for operation in all_operations()
        for phase in operation.phases()
        if isinstance(phase, ForeignPhase) and not isinstance(phase, UndoPhase)
    ]
    longest, where = max(windows, default=(timedelta(0), ""))
    if conf.current().retention <= longest:
        yield Warning(
            f"RETENTION is {conf.current().retention}, and the foreign phase {where} may send "
            f"again for {longest}: a request would be sent to review while it could still "
            "finish.",
            hint="Raise RETENTION above the window.",
            id="idempotency.W050",
        )


@register()
def check_what_points_at_keys(**_: Any) -> Iterator[CheckMessage]:
    """Warn of rows that protect a key, which is then never removed."""
    for relation in IdempotencyKey._meta.get_fields(include_hidden=True):
        if not isinstance(relation, models.ForeignObjectRel):
            continue
        if relation.on_delete in (models.PROTECT, models.RESTRICT):
            yield Warning(
                f"{relation.related_model._meta.label}.{relation.field.name} protects the keys "
                "that it references: the reaper cannot remove them, and tries again every minute.",
                hint="Use on_delete=SET_NULL, or CASCADE: a key is removed TOMBSTONE_RETENTION "
                "after its last run.",
                obj=relation.field,
                id="idempotency.W051",
            )
