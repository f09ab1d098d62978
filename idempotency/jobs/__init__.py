"""Owed until done: jobs are handed over, run under a lease, settled."""

from typing import Any

from idempotency.jobs.working import run_under_lease
from idempotency.support.compat import task


@task()
def run_job(job_id: str, job_name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Run a job for the queue. This name is in messages that are under way, so it never changes."""
    run_under_lease(job_id, job_name, args, kwargs)
