"""Owed until done: jobs are handed over, run under a lease, settled."""

from typing import Any

from idempotency.compat import task
from idempotency.jobs.working import run_under_lease


@task()
def run_job(job_id: str, job_name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """What the queue runs. Its name is in messages that are under way, so it stays where it is."""
    run_under_lease(job_id, job_name, args, kwargs)
