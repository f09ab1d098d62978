"""The jobs that these tests stage: what the bookshop's own cannot show."""

from idempotency.compat import task
from idempotency.tests.bookshop import audit


@task()
def note(what: str, user_id: int) -> None:
    audit(what, user_id)


@task()
def fail(user_id: int) -> None:
    audit("a failed job's effect", user_id)
    raise RuntimeError("no paper")


@task(priority=50)
def note_urgently(user_id: int) -> None:
    audit("urgent", user_id)
