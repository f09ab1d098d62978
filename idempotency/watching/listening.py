"""Who listens to which signal."""

import importlib.util

from idempotency.signals import answered, batch_ended, job_ended, journaled
from idempotency.watching.counts import count_answer, count_entries, count_job
from idempotency.watching.logs import log_answer
from idempotency.watching.pulse import feel_answer, feel_batch, feel_job

LISTENERS = {
    journaled: (count_entries,),
    answered: (log_answer, count_answer, feel_answer),
    batch_ended: (feel_batch,),
    job_ended: (count_job, feel_job),
}


def listen() -> None:
    """Connect the app's own listeners, once."""
    for signal, listeners in LISTENERS.items():
        for listener in listeners:
            signal.connect(listener, dispatch_uid=f"idempotency.{listener.__name__}")
    if importlib.util.find_spec("opentelemetry"):
        from idempotency.watching import spans

        spans.listen()
