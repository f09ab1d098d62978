"""A database that lost its last commits, and hands their serial ids out again.

So it is after a failover to a standby whose replay was behind, and after a restore. What the lost
commits changed in rows that were there before is not taken back.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from django.apps import apps
from django.db import IntegrityError, OperationalError
from django.db.models import Model

from idempotency.database import atomic, connection
from idempotency.testing.activity import end_idle_transactions
from idempotency.testing.experiments import Experiment, nothing
from idempotency.testing.histories import forget_changes_after, last_change

# A sequence that is set back stays so where the transaction fails, to be tried again: those of the
# database's own tables may, that of the history may not, which keeps what it has then.
READ_SEQUENCES = """
SELECT format('%I.%I', schemaname, sequencename), COALESCE(last_value, start_value),
       last_value IS NOT NULL
  FROM pg_sequences
 WHERE sequencename <> 'idempotency_testing_history_id_seq'
"""

MOST_TRIES = 5
"""Another process's transaction may commit between the looks at two tables."""

SET_SEQUENCE = "SELECT setval(%s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a standby has replayed: the rows of each table, and where its sequences stand."""

    rows: dict[type[Model], list[Any]]
    sequences: list[tuple[str, int, bool]]
    last_change: int


def what_is_kept() -> Kept:
    """Everything that is committed now."""
    rows = {
        model: list(model._base_manager.values_list("pk", flat=True))
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy
    }
    with connection.cursor() as cursor:
        cursor.execute(READ_SEQUENCES)
        return Kept(rows, cursor.fetchall(), last_change())


def lose_commits_since(kept: Kept) -> None:
    """Have the database be the standby that kept no more than that. Open transactions are lost.

    Raises: `IntegrityError` or `OperationalError` where others go on changing what is lost.
    """
    for tries_left in reversed(range(MOST_TRIES)):
        end_idle_transactions()
        try:
            _delete_all_but(kept)
        except (IntegrityError, OperationalError):
            if not tries_left:
                raise
        else:
            return


def _delete_all_but(kept: Kept) -> None:
    with atomic(), connection.cursor() as cursor:
        for model, rows in kept.rows.items():
            # Directly: no cascade, no signal, and foreign keys are looked at when all are gone.
            model._base_manager.exclude(pk__in=rows)._raw_delete(using=connection.alias)
        forget_changes_after(kept.last_change)
        cursor.executemany(SET_SEQUENCE, kept.sequences)


def after_a_loss(experiment: Experiment, meanwhile: Callable[[], object] = nothing) -> Experiment:
    """The same attempt, whose commits are lost before its client comes back.

    What the attempt answered was said in a history that nobody has any more, so it does not count.

    Args:
        experiment: the attempt, for `explore`.
        meanwhile: what others do in between; they are given the lost serial ids.
    """
    kept: Kept | None = None
    losing = Lock()

    def prepare(key: str) -> None:
        nonlocal kept
        experiment.prepare(key)
        kept = what_is_kept()

    def send(key: str) -> Any:
        nonlocal kept
        with losing:  # the loss is one, and over, for clients that come at once too
            lost, kept = kept, None
            if lost is not None:
                lose_commits_since(lost)
                meanwhile()
        return experiment.send(key)

    return replace(
        experiment,
        prepare=prepare,
        send=send,
        attempt=experiment.attempt or experiment.send,
        loses_history=True,
    )
