"""System checks of the service: a login of the demonstration, clocks, our standing at Stripe.

`manage.py check --database default` runs those that ask the database.
"""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import DEFAULT_DB_ALIAS, connection
from django.db.utils import ProgrammingError

from rides.clocks import clock_warnings
from rides.demo import ADMIN_EMAIL, ADMIN_PASSWORD
from rides.models import User
from rides.rights import needless_rights
from rides.standing import standing

DEMO_LOGIN = "rides.E001"


@register(Tags.database)
def check_demo_login(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Refuse the demo's admin with the password of the README, anywhere but in the demo."""
    if settings.EMBEDDED_POSTGRES:
        return []
    return [_demo_login(alias) for alias in databases or () if _has_demo_login(alias)]


def _has_demo_login(alias: str) -> bool:
    try:
        admin = User.objects.using(alias).filter(email=ADMIN_EMAIL, is_active=True).first()
    except ProgrammingError:  # the tables are not there yet
        return False
    return admin is not None and admin.check_password(ADMIN_PASSWORD)


def _demo_login(alias: str) -> CheckMessage:
    return Error(
        f"{ADMIN_EMAIL} of the demonstration is in the database {alias!r}, with the password that "
        "the README prints.",
        hint=f"manage.py changepassword {ADMIN_EMAIL}, or remove the user.",
        id=DEMO_LOGIN,
    )


@register(Tags.database)
def check_schema(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Refuse a session that is in another schema than `DATABASE_SCHEMA`, as where a pooler has
    dropped its options: it would serve another cell's riders.
    """
    wanted = settings.DATABASE_SCHEMA
    if not wanted or DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    with connection.cursor() as cursor:
        # The whole path: what the cell lacks, such as a new table, must not be found behind it.
        cursor.execute("SELECT current_schemas(false)::text[], current_setting('search_path')")
        schemas, path = cursor.fetchone()
    if schemas == [wanted]:
        return []
    return [
        Error(
            f"DATABASE_SCHEMA is {wanted}, and a session is in {', '.join(schemas) or 'no schema'}"
            f": its search_path is {path}.",
            hint="manage.py cell create makes the schema. Behind a PgBouncer, set the search_path "
            "by role or in its connect_query (docs/scaling.md).",
            id="rides.E002",
        )
    ]


@register(deploy=True)
def check_clocks(**_: Any) -> list[CheckMessage]:
    """A warning only: neither a clock nor Stripe is to keep an instance from starting."""
    return [
        Warning(
            message,
            hint="Set every machine's clock by NTP, and check whether Stripe can be reached.",
            id="rides.W001",
        )
        for message in clock_warnings()
    ]


@register(deploy=True)
def check_standing_at_stripe(**_: Any) -> list[CheckMessage]:
    """Say who we are at Stripe, in which mode and version; a warning only, as above."""
    identity, warnings = standing()
    told: list[CheckMessage] = [Info(f"Stripe: {identity}.", id="rides.I001")] if identity else []
    return told + [
        Warning(
            message,
            hint="Look at STRIPE_API_KEY and STRIPE_API_BASE. Bookings wait until it is mended.",
            id="rides.W002",
        )
        for message in warnings
    ]


@register(Tags.database, deploy=True)
def check_rights(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """A warning only: with more rights than it needs everything works."""
    if settings.EMBEDDED_POSTGRES:
        return []
    return [
        Warning(
            message,
            hint="Serve with a role of its own: deploy/roles.sql makes it, and deploy/grants.sql "
            "is run after each migrate.",
            id="rides.W004",
        )
        for alias in databases or ()
        for message in needless_rights(alias)
    ]


@register(deploy=True)
def check_webhook_secret(**_: Any) -> list[CheckMessage]:
    """A warning only: without events all that ends at Stripe is found, later."""
    if settings.STRIPE_WEBHOOK_SECRETS:
        return []
    return [
        Warning(
            "STRIPE_WEBHOOK_SECRET is not set, so /stripe/webhook is a 404: what ends at Stripe is "
            "found when the completer, or the nightly run, asks for it.",
            hint="Add an endpoint at Stripe, and set what it signs its events with.",
            id="rides.W003",
        )
    ]


@register(deploy=True)
def check_shared_cache(**_: Any) -> list[CheckMessage]:
    """A warning only: there is a limit without it, a higher one."""
    if not settings.CACHES["default"]["BACKEND"].endswith("LocMemCache"):
        return []
    return [
        Warning(
            "CACHE_URL is not set, so each process counts wrong passwords for itself: an address "
            "may try as often again with each process that it finds.",
            hint="Set CACHE_URL=dbcache://rides_cache, and run manage.py createcachetable.",
            id="rides.W005",
        )
    ]
