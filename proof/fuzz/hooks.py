"""What schemathesis is told besides the contract; it loads this module by `SCHEMATHESIS_HOOKS`.

It sends one request after the other, so what is written between two of them is the first's doing.
"""

import atexit
import json
import os
import uuid
from collections import Counter
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any

import psycopg2
import schemathesis
from schemathesis.generation.meta import CoverageScenario, TestPhase

from proof.fuzz.service import LAST_WRITE

KEY = "Idempotency-Key"
DECIMALS = 10
LARGEST = 1e10
REFUSED = 4

database = psycopg2.connect(os.environ["DATABASE_URL"])
database.autocommit = True

seen: Counter[str] = Counter()
keys: set[str] = set()
first_answers: dict[str, tuple[int, bytes]] = {}
write_before = ""
writers: set[str] = set()
"""The ids of the cases whose request wrote to the database."""


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Round the numbers, since JSON Schema cannot say how many decimals one may have."""
    if not isinstance(body, dict):
        return body
    return {name: _rounded(value) for name, value in body.items()}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give each case a key of its own where it is about anything else."""
    global write_before
    key = (case.headers or {}).get(KEY)
    if key:
        if key in keys and not _is_about_its_headers(case.meta.phase):
            case.headers[KEY] = key = str(uuid.uuid4())
        keys.add(key)
    write_before = _last_write()


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    seen[f"{case.path} {response.status_code}"] += 1
    if _last_write() != write_before:
        writers.add(case.id)


@schemathesis.check
def only_a_booking_writes(ctx: Any, response: Any, case: Any) -> None:
    """A request that is refused, that only reads, or that is answered again writes nothing."""
    status = response.status_code
    is_refused = status // 100 == REFUSED and status != HTTPStatus.PAYMENT_REQUIRED
    if case.method != "POST" or is_refused or _replayed(response) == ["true"]:
        assert case.id not in writers, f"A {status} has written to the database"


@schemathesis.check
def a_final_answer_stays(ctx: Any, response: Any, case: Any) -> None:
    """Whatever is final is answered again with the first status and bytes, as a replay."""
    if not (replayed := _replayed(response)):
        return
    key, answer = response.request.headers[KEY], (response.status_code, response.content)
    if key in first_answers:
        assert (replayed, answer) == (["true"], first_answers[key])
    first_answers[key] = answer


def _is_about_its_headers(phase: Any) -> bool:
    """A link has led to the key, or what is tried is to leave a header out."""
    is_missing = getattr(phase.data, "scenario", None) == CoverageScenario.MISSING_PARAMETER
    return is_missing or phase.name == TestPhase.STATEFUL


def _rounded(value: Any) -> Any:
    is_number = isinstance(value, float) and abs(value) < LARGEST
    return float(round(Decimal(repr(value)), DECIMALS)) if is_number else value


def _replayed(response: Any) -> list[str]:
    found: list[str] = response.headers.get("idempotent-replayed", [])
    return found


def _last_write() -> str:
    with database.cursor() as cursor:
        cursor.execute(LAST_WRITE)
        return str(cursor.fetchone()[0])


@atexit.register
def report() -> None:
    Path(os.environ["FUZZ_SEEN"]).write_text(json.dumps(seen))
