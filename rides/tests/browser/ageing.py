"""Time that has passed since a request's attempts, in what the console draws of them too."""

from datetime import datetime, timedelta

from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass


def let_time_pass_for_all(by: timedelta) -> None:
    """Have everything have happened that much earlier. The journals first: then nothing is due yet,
    and no worker writes there.
    """
    for key in IdempotencyKey.objects.all():
        for entry in key.journal:
            entry["at"] = (datetime.fromisoformat(entry["at"]) - by).isoformat()
        IdempotencyKey.objects.filter(pk=key.pk).update(journal=key.journal)
    let_time_pass(by)
