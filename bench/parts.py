"""The parts of a ride's time in Python, by the functions that they begin with.

Imported once Django is set up. A function that is renamed fails here, at the import.
"""

import inspect
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import QuerySet
from django.db.transaction import Atomic
from django.forms import BaseForm
from django.http import QueryDict

from bench.service.unsafe import book_ride
from idempotency import stage_job
from idempotency.attempts import Attempt
from idempotency.claims import find_key, insert_key
from idempotency.http.bodies import read_body, read_bytes
from idempotency.http.shapes import kept_by_form
from idempotency.http.views import perform, refuse_unread
from idempotency.leases import write_progress
from idempotency.support.fingerprints import fingerprint
from rides import payments
from rides.authentication import demo_rider
from rides.payments.transport import CurlClient
from rocketrides.pooled.base import DatabaseWrapper

REST = "Django: request, middlewares, address, response"

FUNCTIONS: dict[str, list[Callable[..., Any]]] = {
    REST: [WSGIHandler.__call__, book_ride],
    "the credential": [demo_rider],
    "the body: form, checks, canonical JSON": [
        refuse_unread,
        read_bytes,
        read_body,
        kept_by_form,
        fingerprint,
        QueryDict.__init__,
        BaseForm.__init__,
        BaseForm.is_valid,
    ],
    "the key: look-up, claim, two moves with their journal": [
        find_key,
        insert_key,
        write_progress,
    ],
    "phases: the loop around them": [perform, Attempt.start],
    "the ride's own rows, the staged job": [QuerySet.create, QuerySet.update, stage_job],
    "Stripe: its client": [payments.charge],
    "Stripe: HTTP by libcurl": [CurlClient.request],
    "PostgreSQL: statements, by Django's cursor, the driver and the socket": [
        BaseDatabaseWrapper.cursor,
        CursorWrapper.execute,
        CursorWrapper.__exit__,
    ],
    "PostgreSQL: connections from the pool and back": [
        BaseDatabaseWrapper.connect,
        DatabaseWrapper.close,
    ],
    "PostgreSQL: transactions": [Atomic.__enter__, Atomic.__exit__],
}


def code_of(function: Callable[..., Any]) -> CodeType:
    """What a frame of the function runs, beneath its decorators."""
    code: CodeType = inspect.unwrap(function).__code__
    return code


PARTS = {code_of(each): part for part, functions in FUNCTIONS.items() for each in functions}


def part_of(frame: FrameType | None) -> str:
    """The part that a function belongs to, by itself or by the nearest of those that called it."""
    while frame is not None:
        part = PARTS.get(frame.f_code)
        if part is not None:
            return part
        frame = frame.f_back
    return REST
