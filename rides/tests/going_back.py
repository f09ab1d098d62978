"""How tests have the money of a booked ride go back, and what is written down of it."""

import io

from django.core.management import CommandError, call_command

from rides.models import Dispute, Refund
from rides.reversals.rows import Reversal
from sandbox.stripe.control import StandIn

DAY = 24 * 3600


def the_charge(stand_in: StandIn) -> str:
    [charge] = stand_in.charges(status="succeeded")
    return str(charge["id"])


def reconciled(*arguments: str) -> str:
    """What the command prints, whether something is off or not."""
    output = io.StringIO()
    try:
        call_command("reconcile", *arguments, stdout=output)
    except CommandError as error:
        if error.returncode != 1:
            raise
    return output.getvalue()


def off(*arguments: str) -> list[str]:
    """Each line of what is off, its spaces as one."""
    return [" ".join(line.split()) for line in reconciled(*arguments).splitlines()[1:-1]]


def standings() -> list[tuple[str, str]]:
    """Each refund and dispute in the order of its time: its status, and whether it is open."""
    rows: list[Reversal] = [*Refund.objects.all(), *Dispute.objects.all()]
    rows.sort(key=lambda row: (row.made_at, row.pk))
    return [(row.status, "open" if row.is_open else "settled") for row in rows]
