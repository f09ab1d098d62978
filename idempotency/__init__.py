"""Stripe-grade idempotent endpoints for Django: what an adopter imports.

The names are looked up when they are first used, because Django imports this package before its
models may be loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from idempotency.exceptions import (
        IdempotencyError,
        Indeterminate,
        NeedsReview,
        ReviewRefused,
    )
    from idempotency.http.calls import stage_operation
    from idempotency.http.idempotent import idempotent
    from idempotency.jobs.limits import job_limit
    from idempotency.models import FINISHED, STARTED
    from idempotency.operations import Operation
    from idempotency.phases import (
        NoOp,
        Pending,
        RecoveryPoint,
        Response,
        Undo,
        atomic_phase,
        foreign_phase,
    )
    from idempotency.staging import stage_job
    from idempotency.support.context import note_call
    from idempotency.transactions import READ_COMMITTED, SERIALIZABLE
    from idempotency.workers.soon import complete_soon

_HOMES = {
    "FINISHED": "models",
    "IdempotencyError": "exceptions",
    "Indeterminate": "exceptions",
    "NeedsReview": "exceptions",
    "NoOp": "phases",
    "Operation": "operations",
    "Pending": "phases",
    "READ_COMMITTED": "transactions",
    "RecoveryPoint": "phases",
    "Response": "phases",
    "ReviewRefused": "exceptions",
    "SERIALIZABLE": "transactions",
    "STARTED": "models",
    "Undo": "phases",
    "atomic_phase": "phases",
    "complete_soon": "workers.soon",
    "foreign_phase": "phases",
    "idempotent": "http.idempotent",
    "job_limit": "jobs.limits",
    "note_call": "support.context",
    "stage_job": "staging",
    "stage_operation": "http.calls",
}

__all__ = [
    "FINISHED",
    "READ_COMMITTED",
    "SERIALIZABLE",
    "STARTED",
    "IdempotencyError",
    "Indeterminate",
    "NeedsReview",
    "NoOp",
    "Operation",
    "Pending",
    "RecoveryPoint",
    "Response",
    "ReviewRefused",
    "Undo",
    "atomic_phase",
    "complete_soon",
    "foreign_phase",
    "idempotent",
    "job_limit",
    "note_call",
    "stage_job",
    "stage_operation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'idempotency' has no attribute {name!r}")
    return getattr(import_module(f"idempotency.{_HOMES[name]}"), name)
