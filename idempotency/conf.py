"""The app's settings with their defaults, read in this one place.

A project overrides them with `IDEMPOTENCY = {"LOCK_TIMEOUT": timedelta(seconds=60), ...}`. The
numbers are those of the reference design.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS
from django.dispatch import receiver


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """One field for each name in the `IDEMPOTENCY` setting, in lower case."""

    database: str = DEFAULT_DB_ALIAS
    """Which of `DATABASES` the keys are in, together with all that operations write. Read once,
    when the app is loaded."""

    authenticate: str = "idempotency.http.authentication.session_user"
    """Dotted path of `(request) -> user or None`."""

    foreign_key_namespace: UUID | None = None
    """What foreign keys are derived from. Each installation needs its own, and never another one:
    after a change every retry in flight would ask the foreign system anew."""

    foreign_key_user_field: str = "pk"
    """The user's field that foreign keys are derived from: unique, never empty, never changed, and
    no number that a restored database hands out again."""

    lock_timeout: timedelta = timedelta(seconds=90)
    """How long a lease lasts. Longer than the worst case of any foreign call."""

    completer_grace: timedelta = timedelta(seconds=300)
    """After creation the client has the first right to retry; then the completer may."""

    completer_pause: timedelta = timedelta(seconds=60)
    """The completer's shortest wait after a key's last run; it doubles with each attempt."""

    completer_pause_limit: timedelta = timedelta(hours=1)
    """The completer's longest wait between two attempts at one key."""

    completer_rate: int = 50
    """The most keys a second that one completer takes, however many threads it has: about a tenth
    of what two cores answer, so that after an outage the clients have the rest."""

    max_attempts: int = 30
    """After so many attempts by the completer, about a day of them, a person must look."""

    retention: timedelta = timedelta(hours=72)
    """How long a finished key can be replayed, from its last run on. Then its parameters and its
    answer go."""

    tombstone_retention: timedelta = timedelta(days=30)
    """How long a key is known at all, from its last run on: a very late retry gets a 410."""

    clock_tolerance: timedelta = timedelta(seconds=5)
    """A time of the database's own that lies further ahead than it can be, plus this, was written
    while the database's clock was wrong: it is taken as past."""

    provider_clock_difference: timedelta = timedelta(hours=4)
    """How far a foreign system's clock may be from the database's."""

    key_min_length: int = 20
    """Shorter keys are refused: a client that sends them has too little randomness in them."""

    max_unfinished: int | None = None
    """How many unfinished requests of operations a user may have; a further one is a 429. None sets
    no limit: where one user is a whole company's server, say."""

    max_body_bytes: int = 16 * 1024
    """Larger request bodies are refused unread."""

    replayed_headers: tuple[str, ...] = (
        *("Location", "Content-Location", "ETag", "Last-Modified", "Link"),
        *("Content-Disposition", "Content-Language"),
    )
    """Which headers of an `@idempotent` view's answer are stored and sent with its replays."""

    not_stored: tuple[int, ...] = (401, 403, 408, 409, 423, 425, 429)
    """Statuses of an `@idempotent` view that may be others the next time: such an answer is not
    stored, and what the view did is rolled back. None from 500 on is stored anyhow."""

    mismatch_status: int = 409
    """What a key that was used for something else is answered with. The draft has 422."""

    documentation_url: str = ""
    """Where clients read what keys ask of them: each error leads there (`Link`), if it is set."""

    duplicate_wait: timedelta = timedelta(seconds=1)
    """How long a duplicate waits for the `@idempotent` view that has its key in hand."""

    wait_default: timedelta = timedelta(0)
    """How long a duplicate of an operation's request waits for the first's answer, where it does
    not say so itself (`Prefer: wait=10`)."""

    wait_limit: timedelta = timedelta(seconds=30)
    """How long it may wait at most, whatever it says."""

    wait_places: int = 4
    """How many may wait at a time in one process, each of another user. Each has a thread: give an
    eighth of them."""

    credential_headers: tuple[str, ...] = ("Authorization", "Cookie")
    """Where a credential may stand. A request with none of them is refused before its body is read;
    with an empty tuple `authenticate` alone decides."""

    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose `X-Forwarded-For` is believed, for `origin_ip`."""

    pulse: timedelta | None = timedelta(seconds=10)
    """How often each process tells the database what it has counted, and that it is there. None:
    never, and the console's charts and workers stay empty."""

    metrics_token: str = field(default="", repr=False)
    """What Prometheus shows as its bearer token at the address of the metrics; without one that is
    a 404."""

    version: str = ""
    """What of the project runs, shown with each process; by default the app's own version."""

    readiness_checks: tuple[str, ...] = (
        "idempotency.http.health.not_asked_to_stop",
        "idempotency.http.health.database_answers",
        "idempotency.http.health.migrations_are_applied",
        "idempotency.http.health.namespace_is_the_databases",
        "idempotency.http.health.doors_are_open",
    )
    """Dotted paths of `() -> sequence of complaints`: what `/readyz` asks."""

    readiness_warnings: tuple[str, ...] = ("idempotency.support.refusals.refusal_warnings",)
    """Dotted paths of `() -> sequence of warnings`, for which `/readyz` refuses nothing."""

    batch_size: int = 1000
    """How many rows a worker command takes at a time."""

    idle_pause: timedelta = timedelta(seconds=5)
    """How long the reaper sleeps when there was nothing to do."""

    completer_idle_pause: timedelta = timedelta(milliseconds=500)
    """How long the completer sleeps when there was nothing to do: the delay of `complete_soon`."""

    enqueuer_pause: timedelta = timedelta(milliseconds=100)
    """How long the enqueuer sleeps when there was nothing to do: a job's usual delay."""

    phase_retries: int = 5
    """How often a phase is tried again after a serialization failure or a deadlock."""

    redelivery_after: timedelta = timedelta(seconds=60)
    """A job handed over this long ago and not settled is handed over again; doubles each time."""

    job_limit: timedelta = timedelta(minutes=5)
    """How long a job may take that does not say otherwise with `@job_limit`: its worker's lease."""

    max_deliveries: int = 10
    """A job that was handed over this often and never settled is set aside for a person."""

    @property
    def lookup_span(self) -> timedelta:
        """How long before a key's row a look-up begins: after a loss, the call is older than it."""
        return self.retention + self.provider_clock_difference


@lru_cache(maxsize=1)
def current() -> Settings:
    """The settings in force. Raises: `TypeError` for a name that does not exist."""
    overrides: dict[str, Any] = getattr(django_settings, "IDEMPOTENCY", {})
    return Settings(**{name.lower(): value for name, value in overrides.items()})


def database() -> str:
    """Return `DATABASE` alone: it is needed while other settings may not be readable yet.

    Raises: `ImproperlyConfigured` where `DATABASES` has no such name.
    """
    overrides: dict[str, Any] = getattr(django_settings, "IDEMPOTENCY", {})
    alias = str(overrides.get("DATABASE", DEFAULT_DB_ALIAS))
    if alias != DEFAULT_DB_ALIAS and alias not in django_settings.DATABASES:
        raise ImproperlyConfigured(
            f"IDEMPOTENCY names {alias!r} as DATABASE, which is none of DATABASES."
        )
    return alias


@receiver(setting_changed)
def _forget_cached_settings(*, setting: str, **_: Any) -> None:
    if setting == "IDEMPOTENCY":
        current.cache_clear()
