"""Ask each arrangement the same questions, and print what it answered, a line each.

Every request runs in a process of its own, so that a kill ends that one. Two that arrive at once
are threads of one process, as a lock inside a process is one of the locks compared.
"""

import logging
import multiprocessing
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client
from environ import Env  # type: ignore[import-untyped]

from bench.packages.arrangements import ARRANGEMENTS, Arrangement
from rocketrides.environment import LOCAL_DIR, configured_database_url
from sandbox import postgres

DATABASE = "compared"
FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A request: a new key, unless it repeats another's."""

    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    user: str = "ann"
    amount: int = 7
    happen: str = ""
    path: str = "/payments"


def main() -> None:
    for arrangement in ARRANGEMENTS:
        process = FORK.Process(target=question, args=[arrangement])
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(process.exitcode)


def question(arrangement: Arrangement) -> None:
    set_up(arrangement)
    print(f"\n{arrangement.name}")
    for text, ask in QUESTIONS.items():
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE payment")
        print(f"  {text + ' ':.<52} {ask(arrangement)}", flush=True)
    connections.close_all()


# --- The questions ----------------------------------------------------------------------------


def killed_in_the_view(arrangement: Arrangement) -> str:
    return retried(arrangement, "killed in the view")


def killed_after_the_view(arrangement: Arrangement) -> str:
    return retried(arrangement, "killed after the view")


def an_error(arrangement: Arrangement) -> str:
    return retried(arrangement, "error")


def retried(arrangement: Arrangement, happen: str) -> str:
    first = Sent(happen=happen)
    answer(first)
    answers = [answer(Sent(key=first.key))]
    if answers[0]["status"] == 409 and pass_time(arrangement):
        answers.append(answer(Sent(key=first.key)))
    return f"{', later '.join(str(each['status']) for each in answers)}; {payments()}"


def two_at_once(arrangement: Arrangement) -> str:
    first, second = answers_at_once(Sent(happen="slow"), lambda: None)
    return f"{first['status']} and {same(first, second)}; {payments()}"


def two_at_once_after_the_locks_time(arrangement: Arrangement) -> str:
    first, second = answers_at_once(Sent(happen="slow"), lambda: pass_time(arrangement))
    return f"{first['status']} and {same(first, second)}; {payments()}"


def a_retry(arrangement: Arrangement) -> str:
    first = Sent()
    return same(answer(first), answer(first))


def headers_of_a_retry(arrangement: Arrangement) -> str:
    first = Sent()
    answer(first)
    return ", ".join(answer(first)["headers"]) or "none"


def another_body(arrangement: Arrangement) -> str:
    first = Sent()
    before = answer(first)
    return same(before, answer(Sent(key=first.key, amount=8)))


def another_user(arrangement: Arrangement) -> str:
    first = Sent()
    before = answer(first)
    after = answer(Sent(key=first.key, user="bob"))
    return f"{same(before, after)}, of {after['payer']}"


def a_refusal(arrangement: Arrangement) -> str:
    first = Sent(happen="refused")
    return same(answer(first), answer(first))


def a_response_of_rest_framework(arrangement: Arrangement) -> str:
    return str(answer(Sent(happen="a Response of REST framework"))["status"])


def an_async_view(arrangement: Arrangement) -> str:
    if not arrangement.protects_functions:
        return "not for views that are functions"
    first = Sent(path="/payments-async")
    before = answer(first)
    return f"{before['status']}, then {same(before, answer(first))}; {payments()}"


QUESTIONS: dict[str, Callable[[Arrangement], str]] = {
    "killed in the view, behind its last write": killed_in_the_view,
    "killed behind the view, before the answer is sent": killed_after_the_view,
    "an unexpected error in the view": an_error,
    "a duplicate meanwhile": two_at_once,
    "a duplicate meanwhile, the lock's time over": two_at_once_after_the_locks_time,
    "a retry": a_retry,
    "its headers": headers_of_a_retry,
    "another body under the key": another_body,
    "another user, the same key and body": another_user,
    "a 402, asked again": a_refusal,
    "an answer that is REST framework's Response": a_response_of_rest_framework,
    "an async view, asked twice": an_async_view,
}


# --- How they are asked -----------------------------------------------------------------------


def answer(sent: Sent) -> dict[str, Any]:
    """Send the request in a process of its own; the status is 0 where that was killed."""
    (only,) = in_a_process(lambda: [send(sent)])
    return only


def answers_at_once(sent: Sent, meanwhile: Callable[[], Any]) -> list[dict[str, Any]]:
    def send_both() -> list[dict[str, Any]]:
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(send, sent)
            time.sleep(0.5)
            meanwhile()
            second = threads.submit(send, Sent(key=sent.key))
            return [first.result(), second.result()]

    return in_a_process(send_both)


def in_a_process(work: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    connections.close_all()
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=lambda: sender.send(work()))
    process.start()
    sender.close()
    try:
        received: list[dict[str, Any]] = receiver.recv()
    except EOFError:
        received = [{"status": 0, "run": None}]
    process.join()
    return received


def send(sent: Sent) -> dict[str, Any]:
    got = Client(raise_request_exception=False).post(
        sent.path,
        {"amount": sent.amount},
        "application/json",
        headers={"Authorization": sent.user, "Idempotency-Key": sent.key, "Happen": sent.happen},
    )
    connections.close_all()
    body = got.json() if "json" in got.headers.get("Content-Type", "") else {}
    names = [name for name in ("Location", "X-Shop") if name in got.headers]
    return {
        "status": got.status_code,
        "run": body.get("run"),
        "payer": body.get("payer"),
        "headers": names + (["a cookie"] if got.cookies else []),
    }


def same(first: dict[str, Any], second: dict[str, Any]) -> str:
    if second["run"] is None:
        return str(second["status"])
    return f"{second['status']}, {'replayed' if first['run'] == second['run'] else 'run again'}"


def payments() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM payment")
        ((count,),) = cursor.fetchall()
    return f"{count} payment{'' if count == 1 else 's'}"


def pass_time(arrangement: Arrangement) -> bool:
    """Make the key as old as its lock may be, which is what waiting would do."""
    if arrangement.pass_time is None:
        return False
    with connection.cursor() as cursor:
        cursor.execute(arrangement.pass_time)
        return bool(cursor.rowcount)


# --- A project for each arrangement -----------------------------------------------------------


def set_up(arrangement: Arrangement) -> None:
    url = configured_database_url() or postgres.database_url(LOCAL_DIR / "postgres")
    database = {**Env.db_url_config(url), "ATOMIC_REQUESTS": arrangement.atomic_requests}
    settings.configure(
        DATABASES={"default": database},
        INSTALLED_APPS=[
            *("django.contrib.contenttypes", "django.contrib.auth", "rest_framework"),
            *([arrangement.app] if arrangement.app else []),
        ],
        MIDDLEWARE=[*arrangement.middleware, "bench.packages.shop.ending_after_the_view"],
        ROOT_URLCONF="bench.packages.shop",
        SECRET_KEY="compared",
        ALLOWED_HOSTS=["*"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        ARRANGEMENT=arrangement,
        **arrangement.settings,
    )
    django.setup()
    logging.disable()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
        cursor.execute(f"CREATE DATABASE {DATABASE}")
    connection.close()
    connection.settings_dict["NAME"] = DATABASE
    call_command("migrate", verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE payment (payer text NOT NULL)")
        cursor.execute(
            "INSERT INTO auth_user (username, password, first_name, last_name, email, is_superuser,"
            " is_staff, is_active, date_joined) SELECT name, '', '', '', '', false, false, true,"
            " now() FROM unnest(ARRAY['ann', 'bob']) AS name"
        )
    # Imports what the processes need, before they are forked.
    Client().get("/payments", headers={"Authorization": "ann"})


if __name__ == "__main__":
    main()
