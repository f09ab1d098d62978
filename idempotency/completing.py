"""Which keys are due, and running one: what the completer does.

A key is due when its client had its chance (the grace period), the last attempt is long enough
ago, and nobody holds its lease. The completer runs the operation itself, not an imitation of a
request, so the origin's address and the user stay those of the first one.
"""

from dataclasses import dataclass
from typing import Any

from django.urls import Resolver404, resolve

from idempotency import failures
from idempotency.claims import Claim, take_over_next_due_key
from idempotency.exceptions import IdempotencyError, ParametersInvalid, Parked
from idempotency.models import IdempotencyKey
from idempotency.operations import Operation
from idempotency.parameters import restore_parameters
from idempotency.worker import should_stop


@dataclass(frozen=True, slots=True)
class Completed:
    """How a batch ended: keys with a final answer, and keys that must be tried again."""

    succeeded: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        return self.succeeded + self.failed

    def __str__(self) -> str:
        return f"succeeded={self.succeeded} failed={self.failed}"


def complete_due_keys(limit: int) -> Completed:
    """Runs up to `limit` due keys, one after the other. One that fails does not stop the rest."""
    batch = Completed()
    while batch.total < limit and not should_stop() and (claim := take_over_next_due_key()):
        if complete_key(claim):
            batch = Completed(batch.succeeded + 1, batch.failed)
        else:
            batch = Completed(batch.succeeded, batch.failed + 1)
    return batch


def complete_key(claim: Claim) -> bool:
    """Runs the operation of a claimed key. True where it now has a final answer."""
    try:
        operation = operation_for(claim.key)
    except Exception as error:
        failures.let_go(claim.key, claim.lease, error)
        return False
    try:
        operation.resume(claim)
    except IdempotencyError:
        return False
    return True


def operation_for(key: IdempotencyKey) -> Operation:
    """The operation of a stored key, as its request would have made it.

    *Raises* `Parked` where no operation of this code serves the key's path, or its form no longer
    accepts the stored parameters.
    """
    operation_class, path_kwargs = _operation_at(key.request_path)
    try:
        params = restore_parameters(
            key.request_params, operation_class.params_form, operation_class.transient_fields
        )
    except ParametersInvalid as error:
        raise Parked(f"The stored parameters are no longer accepted: {error}") from error
    return operation_class(user=key.user, params=params, path_kwargs=path_kwargs)


def _operation_at(path: str) -> tuple[type[Operation], dict[str, Any]]:
    try:
        match = resolve(path)
    except Resolver404:
        match = None
    operation_class = getattr(match.func, "operation_class", None) if match else None
    if match is None or operation_class is None:
        raise Parked(f"No operation is mounted at {path}.")
    return operation_class, match.kwargs
