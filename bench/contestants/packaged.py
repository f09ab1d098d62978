"""The same ride with django-idempotency-key, as far as it goes (`service/packaged.py`)."""

from contextlib import AbstractContextManager
from importlib.util import find_spec

from bench.contestants.http import OverHTTP
from bench.contestants.service import service
from bench.world import Missing, Server, World


def packaged_api(world: World) -> AbstractContextManager[Server]:
    """The Procfile's `api` with other settings. Raises: Missing."""
    if not find_spec("idempotency_key"):
        raise Missing("django-idempotency-key is not installed here; `make bench` installs it")
    settings = "bench.service.packaged_settings"
    return service(world, "packaged", settings=settings, prepared_by=["createcachetable"])


PACKAGED = OverHTTP(
    name="packaged", title="django-idempotency-key", starting=packaged_api, path="/rides"
)
