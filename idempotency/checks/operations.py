"""System checks: what is wrong with an operation or a single setting, before it can do harm."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from idempotency import conf, leases
from idempotency.models import (
    FINISHED,
    KEY_MAX_LENGTH,
    KEY_MIN_LENGTH,
    STARTED,
    IdempotencyKey,
)
from idempotency.operations import Operation, all_operations
from idempotency.phases import ForeignPhase, UndoPhase

FOR_THE_AUTHOR = {
    *("name", "renamed_from", "params_form", "transient_fields", "isolation"),
    *("may_go_on", "clean_up", "cancelled", "record_pending", "record_review"),
}
"""What an operation may have of its own among the names of `Operation`."""

RESERVED = {name for name in vars(Operation) if not name.startswith("__")} | {
    *("key", "user", "params", "transient", "path_kwargs", "_sent_transient"),
}


@register()
def check_operations(**_: Any) -> list[CheckMessage]:
    return [message for operation in all_operations() for message in check_operation(operation)]


@register()
def check_names(**_: Any) -> list[CheckMessage]:
    """Refuse a name that two operations have, since a key finds its operation by it."""
    by_name: dict[str, list[type[Operation]]] = {}
    for operation in all_operations():
        for name in {operation.name, *operation.renamed_from}:
            by_name.setdefault(name, []).append(operation)
    return [
        Error(
            f"{len(operations)} operations are named {name!r}: "
            f"{', '.join(f'{each.__module__}.{each.__qualname__}' for each in operations)}.",
            hint="Give each a name of its own that never changes: it is stored with each key.",
            obj=operations[0],
            id="idempotency.E030",
        )
        for name, operations in by_name.items()
        if len(operations) > 1
    ]


@register()
def check_settings(**_: Any) -> list[CheckMessage]:
    shortest = conf.current().key_min_length
    if KEY_MIN_LENGTH <= shortest <= KEY_MAX_LENGTH:
        return []
    return [
        Error(
            f"KEY_MIN_LENGTH is {shortest}, and the database takes keys of {KEY_MIN_LENGTH} to "
            f"{KEY_MAX_LENGTH} characters.",
            hint=f"Set it to {KEY_MIN_LENGTH} or more.",
            id="idempotency.E006",
        )
    ]


@register()
def check_foreign_key_namespace(**_: Any) -> list[CheckMessage]:
    """Refuse to go without a namespace, without which no operation's request gets a foreign key."""
    if isinstance(conf.current().foreign_key_namespace, UUID) or not any(all_operations()):
        return []
    return [
        Error(
            "FOREIGN_KEY_NAMESPACE is not set, or is no UUID: the keys that are sent to foreign "
            "systems are derived from it.",
            hint="Generate one for this installation (uuidgen) and never change it: IDEMPOTENCY = "
            '{"FOREIGN_KEY_NAMESPACE": UUID("…")}.',
            id="idempotency.E020",
        )
    ]


@register()
def check_foreign_key_user_field(**_: Any) -> list[CheckMessage]:
    """Warn of a number, which a database that lost its last commits hands out again."""
    name = conf.current().foreign_key_user_field
    user = get_user_model()
    try:
        field = user._meta.pk if name == "pk" else user._meta.get_field(name)
    except FieldDoesNotExist:
        return [
            Error(
                f"FOREIGN_KEY_USER_FIELD names {name!r}, which {user._meta.label} does not have.",
                hint="Name a field of the user that is unique and never changes.",
                id="idempotency.E021",
            )
        ]
    if not isinstance(field, models.IntegerField):
        return []
    return [
        Warning(
            f"FOREIGN_KEY_USER_FIELD names {name!r}, an integer: a database that lost its last "
            "commits gives the number to another user, whose key could meet the first one's at the "
            "foreign system.",
            hint="Give the user a random UUID, and name that field.",
            id="idempotency.W020",
        )
    ]


@register()
def check_lease_clock(**_: Any) -> list[CheckMessage]:
    """A machine that was suspended must not take a lease for live that ended meanwhile."""
    if leases.COUNTS_SUSPENDED_TIME:
        return []
    return [
        Warning(
            "This system has no clock that counts the time while the machine is suspended "
            "(CLOCK_BOOTTIME): a process that wakes up could make a foreign call although its "
            "lease has ended.",
            hint="Run it on Linux, or on machines that are never suspended.",
            id="idempotency.W021",
        )
    ]


@register()
def check_tombstone_retention(**_: Any) -> list[CheckMessage]:
    """Warn where a client's key is free again while a foreign system still keeps it."""
    settings_now = conf.current()
    memories = [
        (phase.memory, f"{operation.__qualname__}.{phase.name}")
        for operation in all_operations()
        for phase in operation.phases()
        if isinstance(phase, ForeignPhase) and phase.memory is not None
    ]
    longest, where = max(memories, default=(None, ""))
    if longest is None or settings_now.tombstone_retention > longest + settings_now.lookup_span:
        return []
    return [
        Error(
            f"TOMBSTONE_RETENTION is {settings_now.tombstone_retention}. The foreign system of "
            f"{where} keeps a key for {longest}, and a look-up begins {settings_now.lookup_span} "
            "before its request: a key that is used again could be answered with the old request.",
            hint="Raise TOMBSTONE_RETENTION above the sum of the two.",
            id="idempotency.E022",
        )
    ]


def check_operation(operation: type[Operation]) -> Iterator[CheckMessage]:
    """Return what is wrong with one operation."""
    longest = IdempotencyKey._meta.get_field("operation").max_length or 0
    for name in (operation.name, *operation.renamed_from):
        if not (isinstance(name, str) and 0 < len(name) <= longest):
            yield Error(
                f"The operation's name is {name!r}, which must have 1 to {longest} characters.",
                hint="Choose another name.",
                obj=operation,
                id="idempotency.E031",
            )
    yield from _check_names_of_methods(operation)
    times = Counter(phase.recovery_point for phase in operation.phases())
    for point, count in times.items():
        if count > 1:
            yield Error(
                f"{count} phases start from the recovery point {point!r}.",
                hint="Give each phase a recovery point of its own.",
                obj=operation,
                id="idempotency.E001",
            )
    if STARTED not in times:
        yield Error(
            f"No phase starts from {STARTED!r}.",
            hint=f"The first phase is decorated with @atomic_phase({STARTED!r}).",
            obj=operation,
            id="idempotency.E002",
        )
    if FINISHED in times:
        yield Error(
            f"A phase starts from {FINISHED!r}, where nothing is left to do.",
            hint="Rename its recovery point.",
            obj=operation,
            id="idempotency.E007",
        )
    for phase in operation.phases():
        if isinstance(phase, ForeignPhase):
            yield from _check_foreign_phase(operation, phase)


def _check_names_of_methods(operation: type[Operation]) -> Iterator[CheckMessage]:
    authors = operation.__mro__[: operation.__mro__.index(Operation)]
    written = {name for each in authors for name in vars(each) if not name.startswith("__")}
    for name in sorted(written & (RESERVED - FOR_THE_AUTHOR)):
        yield Error(
            f"{operation.__qualname__}.{name} overrides an attribute of the library.",
            hint="Rename it.",
            obj=operation,
            id="idempotency.E010",
        )


def _check_foreign_phase(operation: type[Operation], phase: ForeignPhase) -> Iterator[CheckMessage]:
    where = f"{operation.__qualname__}.{phase.name}"
    if phase.commit_name is None and not isinstance(phase, UndoPhase):
        yield Error(
            f"The foreign phase {where} has no commit: its result would be lost.",
            hint=f"Decorate the atomic phase for its result with @{phase.name}.commit.",
            obj=operation,
            id="idempotency.E003",
        )
    if phase.withdraw_name and not phase.follow_name:
        yield Error(
            f"The foreign phase {where} has a withdraw and no follow: what is pending could not be "
            "asked about.",
            hint=f"Decorate a method with @{phase.name}.follow.",
            obj=operation,
            id="idempotency.E011",
        )
    if phase.follow_name and not phase.withdraw_name and not isinstance(phase, UndoPhase):
        yield Error(
            f"The foreign phase {where} has a follow and no withdraw: what is pending would never "
            "be given up.",
            hint=f"Decorate a method with @{phase.name}.withdraw.",
            obj=operation,
            id="idempotency.E012",
        )
    if phase.worst_case is None:
        yield Warning(
            f"The foreign phase {where} does not say how long its call can take at the worst.",
            hint="Pass worst_case= (timeouts times tries), to have it compared with the lease.",
            obj=operation,
            id="idempotency.W001",
        )
    elif phase.worst_case >= conf.current().lock_timeout:
        yield Error(
            f"The foreign phase {where} can take {phase.worst_case}, and a lease lasts "
            f"{conf.current().lock_timeout}: another process could begin while it still runs.",
            hint="Shorten its timeouts, or lengthen LOCK_TIMEOUT.",
            obj=operation,
            id="idempotency.E004",
        )
