"""What the demo needs around the project: PostgreSQL, the Stripe stand-in, a seeded database.

`make start` and `manage.py runserver` need the same, whatever of it is not configured.
"""

import contextlib
import shlex
from collections.abc import Iterator

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections

from idempotency.checks.deploys import check_first_release
from sandbox import postgres
from sandbox.stripe.control import StandIn
from sandbox.stripe.process import StandInFailed, running_stand_in


@contextlib.contextmanager
def running_services() -> Iterator[None]:
    """Keep PostgreSQL and the stand-in running for the block, those that are not configured.

    PostgreSQL ends after the last such block. A stand-in that somebody else runs is used as it is.

    Raises: SystemExit, with the reason in one line.
    """
    with contextlib.ExitStack() as stack:
        if settings.EMBEDDED_POSTGRES:
            stack.enter_context(postgres.in_use(settings.LOCAL_DIR / "postgres"))
        if settings.STRIPE_STAND_IN and not StandIn(settings.STRIPE_API_BASE).is_healthy():
            stack.enter_context(own_stand_in())
        yield


@contextlib.contextmanager
def own_stand_in() -> Iterator[None]:
    try:
        with running_stand_in(settings.LOCAL_DIR / "stripe", settings.STRIPE_STAND_IN_PORT):
            yield
    except StandInFailed as error:
        raise SystemExit(str(error)) from None


def services_to_run() -> dict[str, str]:
    """Return the commands beside the Procfile's processes.

    They are the watch over the embedded PostgreSQL, and a stand-in that sends its events to the
    API. It stands by while another demo's is in use, and then takes its place.
    """
    commands = {}
    if settings.EMBEDDED_POSTGRES:
        commands["postgres"] = "exec python -m sandbox watch"
    if settings.STRIPE_STAND_IN:
        stand_in = ["exec", "python", "-m", "sandbox.stripe", "--stand-by"]
        stand_in += ["--port", str(settings.STRIPE_STAND_IN_PORT)]
        stand_in += ["--data", str(settings.LOCAL_DIR / "stripe")]
        stand_in += ["--webhook", f"http://127.0.0.1:{settings.PORT}/stripe/webhook"]
        for secret in settings.STRIPE_WEBHOOK_SECRETS:
            stand_in += ["--webhook-secret", secret]
        commands["stripe"] = shlex.join(stand_in)
    return commands


def prepare_database() -> None:
    """Migrate and seed, both of which change only what is missing.

    Raises: SystemExit, with the reason in one line.
    """
    try:
        if refusals := check_first_release(databases=[DEFAULT_DB_ALIAS]):
            raise CommandError(f"{refusals[0].msg} {how_to_begin_again()}")
        call_command("migrate", verbosity=0, interactive=False)
        call_command("seed")
    except (OperationalError, CommandError) as error:
        reason = " ".join(str(error).split())
        raise SystemExit(f"The database cannot be prepared: {reason}") from None
    finally:
        connections.close_all()


def how_to_begin_again() -> str:
    if settings.EMBEDDED_POSTGRES:
        return f"Begin again with an empty one: make stop, then remove {settings.LOCAL_DIR}"
    return "Begin again with an empty one, which DATABASE_URL names."
