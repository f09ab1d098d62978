"""The packages, each as its documentation arranges it; where it matters, in one transaction too."""

import tempfile
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.utils.module_loading import import_string


def as_it_is(view: Any) -> Any:
    return view


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    name: str
    app: str | None = None
    middleware: Sequence[str] = ()
    atomic_requests: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    protect_class: Callable[[Any], Any] = as_it_is
    protect_function: Callable[[Any], Any] = as_it_is
    protects_functions: bool = True

    pass_time: str | None = None
    """SQL that makes a key's lock as old as it would be once its time is over."""


def with_mixin(view: Any) -> Any:
    mixin = import_string("drf_idempotencykey.mixins.DrfIdempotencyKeyMixin")
    return type("Protected", (mixin, view), {})


def with_decorator(dotted_path: str, view: Any, *, called: bool) -> Any:
    decorate = import_string(dotted_path)
    if called:
        decorate = decorate()
    if isinstance(view, type):
        return type("Protected", (view,), {"post": decorate(view.post)})  # type: ignore[attr-defined]
    return decorate(view)


_drf_decorator = partial(with_decorator, "drf_idempotency.idempotent", called=True)
_ours = partial(with_decorator, "idempotency.idempotent", called=False)

_DRF_IDEMPOTENCY: dict[str, Any] = {
    "app": "drf_idempotency",
    "settings": {"IDEMPOTENCY": {"BACKEND": "drf_idempotency.backends.database.DatabaseBackend"}},
    "pass_time": "UPDATE drf_idempotency_idempotencyrecord"
    " SET expires_at = expires_at - interval '31 seconds' WHERE status = 'in_progress'",
}
_DECORATED = {
    **_DRF_IDEMPOTENCY,
    "protect_class": _drf_decorator,
    "protect_function": _drf_decorator,
}
_DRF_IDEMPOTENCYKEY: dict[str, Any] = {
    "app": "drf_idempotencykey",
    "protect_class": with_mixin,
    "protects_functions": False,
    "pass_time": "UPDATE drf_idempotencykey_idempotencykey"
    " SET created_at = created_at - interval '61 minutes' WHERE response_code IS NULL",
}

ARRANGEMENTS = (
    Arrangement(
        name="drf-idempotency, middleware",
        middleware=["drf_idempotency.middleware.IdempotencyMiddleware"],
        **_DRF_IDEMPOTENCY,
    ),
    Arrangement(name="drf-idempotency, decorator", **_DECORATED),
    Arrangement(name="drf-idempotency, decorator, atomic", atomic_requests=True, **_DECORATED),
    Arrangement(name="drf-idempotencykey", **_DRF_IDEMPOTENCYKEY),
    Arrangement(name="drf-idempotencykey, atomic", atomic_requests=True, **_DRF_IDEMPOTENCYKEY),
    Arrangement(
        name="django-idempotency-key",
        middleware=["idempotency_key.middleware.IdempotencyKeyMiddleware"],
        settings={
            "IDEMPOTENCY_KEY": {"STORAGE": {"CLASS": "idempotency_key.storage.CacheKeyStorage"}},
            "CACHES": {
                "default": {
                    "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
                    "LOCATION": tempfile.gettempdir() + f"/compared-{uuid.uuid4()}",
                }
            },
        },
    ),
    Arrangement(
        name="@idempotent",
        app="idempotency",
        settings={
            "IDEMPOTENCY": {
                "AUTHENTICATE": "bench.packages.shop.user_of",
                "FOREIGN_KEY_NAMESPACE": uuid.uuid4(),
            }
        },
        protect_class=_ours,
        protect_function=_ours,
    ),
)
