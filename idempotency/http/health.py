"""Two addresses for whoever watches the service: `/healthz` and `/readyz`.

A project mounts them itself: `path("healthz", healthz)`. What makes an instance ready is the list
`READINESS_CHECKS`, of functions that return what is in the way.
"""

import threading
from collections.abc import Sequence

from django.db import Error as DatabaseFailure
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt

from idempotency import conf, doors, stopping
from idempotency.database import connection
from idempotency.foreign_keys import another_namespace
from idempotency.transactions import drop_broken_connection


@csrf_exempt  # whoever watches asks by the method that it has
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer that the process is alive, whatever else is the matter. If it does not: restart it."""
    return JsonResponse({"alive": True})


@csrf_exempt
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer whether requests should be sent here: 200, or 503 with the reasons."""
    complaints = _said_by(conf.current().readiness_checks)
    body = {
        "ready": not complaints,
        "complaints": complaints,
        "warnings": _said_by(conf.current().readiness_warnings),
    }
    response = JsonResponse(body, status=503 if complaints else 200)
    response._has_been_logged = True  # type: ignore[attr-defined]  # an answer, not an error
    return response


def _said_by(checks: Sequence[str]) -> list[str]:
    return [said for check in checks for said in import_string(check)()]


def not_asked_to_stop() -> Sequence[str]:
    return ["The process was asked to stop."] if stopping.was_asked_to_stop() else []


def doors_are_open() -> Sequence[str]:
    """Say where the doors were closed, as each process reads once a second."""
    try:
        return ["The doors are closed."] if doors.are_closed() else []
    except DatabaseFailure:
        return ["The doors could not be read."]


def database_answers() -> Sequence[str]:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseFailure as error:
        drop_broken_connection(error)
        return ["The database does not answer."]
    return []


def migrations_are_applied() -> Sequence[str]:
    """Compare the code's migrations with the database's, until they agree once."""
    try:
        if not (_migrated.is_set() or _unapplied_migrations()):
            _migrated.set()
    except DatabaseFailure as error:
        drop_broken_connection(error)
    return [] if _migrated.is_set() else ["The database lacks migrations of this code."]


_migrated = threading.Event()


def namespace_is_the_databases() -> Sequence[str]:
    """Compare the namespace with the one that the database keeps, until they agree once: an
    instance that was led to another's database would charge again what was charged.
    """
    if _is_the_databases.is_set():
        return []
    try:
        if another_namespace():
            return ["FOREIGN_KEY_NAMESPACE is not the database's."]
        _is_the_databases.set()
    except DatabaseFailure as error:  # what that means, others of the list say
        drop_broken_connection(error)
    return []


_is_the_databases = threading.Event()


def _unapplied_migrations() -> Sequence[object]:
    executor = MigrationExecutor(connection)
    return executor.migration_plan(executor.loader.graph.leaf_nodes())
