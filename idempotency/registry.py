"""Every operation of a project, each found by its name, which is stored with the keys.

So an operation may be mounted under one path, under several, or under none.
"""

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from django.conf import settings
from django.utils.module_loading import autodiscover_modules

from idempotency.exceptions import Parked
from idempotency.models import IdempotencyKey
from idempotency.operations import Operation


def all_operations() -> Iterator[type[Operation]]:
    """Yield every operation that has phases; a base class without any is not one itself."""
    return (operation for operation in _subclasses_of(Operation) if operation.phases())


def operation_named(name: str) -> type[Operation]:
    """Return the operation that has the name, or had it once.

    *Raises* `Parked` where this code has none, or more than one.
    """
    _import_operations(settings.ROOT_URLCONF)
    found = [each for each in all_operations() if each.is_named(name)]
    if len(found) == 1:
        return found[0]
    count = "More than one" if found else "No"
    raise Parked(f"{count} operation of this version of the service is named {name!r}.")


def operation_for(key: IdempotencyKey) -> Operation:
    """Return the operation of a stored key, with what its first request asked for.

    *Raises* `Parked` where no operation of this code has the key's name.
    """
    return operation_named(key.operation).for_key(key, user=key.user)


def _subclasses_of(base: type[Operation]) -> Iterator[type[Operation]]:
    for operation in base.__subclasses__():
        yield operation
        yield from _subclasses_of(operation)


@cache
def _import_operations(urlconf: Any) -> None:
    """Import the modules that define operations: those of the URLs, and `operations` of each app.

    A worker has no other reason to import them.
    """
    if isinstance(urlconf, str):
        import_module(urlconf)
    autodiscover_modules("operations")
