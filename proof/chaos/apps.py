import os
from dataclasses import replace
from datetime import timedelta

from django.apps import AppConfig

ASK_AGAIN_IN, GIVE_UP_AFTER = timedelta(seconds=1), timedelta(seconds=15)


class ChaosConfig(AppConfig):
    """Stripe's hours as seconds, and the ledger's, so that a run of a minute sees what else takes
    days.
    """

    name = "proof.chaos"

    def ready(self) -> None:
        from rides.operations import CreateRide
        from rides.payments import charging, client, statuses

        client.CONNECT_TIMEOUT_SECONDS = 0.5  # type: ignore[assignment]
        client.CALL_TIMEOUT_SECONDS = 1.3  # type: ignore[assignment]
        client.RETRIES = 0
        charging.LOOKUP_SECONDS = 1  # type: ignore[attr-defined]
        CreateRide.isolation = os.environ.get("PROOF_ISOLATION", CreateRide.isolation)
        CreateRide.charge_rider.window = timedelta(seconds=10)
        for status, meaning in statuses.PAYMENTS.items():
            statuses.PAYMENTS[status] = replace(
                meaning, ask_again_in=ASK_AGAIN_IN, gives_up_after=GIVE_UP_AFTER
            )
        self.hurry_enrolments()
        worst_case = timedelta(seconds=1.3 + 1 + 1.3)
        CreateRide.charge_rider.worst_case = CreateRide.take_back_charge.worst_case = worst_case

    def hurry_enrolments(self) -> None:
        """They change rows in memory, which two may do at once at the strictest level only."""
        from idempotency import SERIALIZABLE
        from idempotency.tests import ledger

        ledger.PATIENCE_SECONDS = 1.3  # type: ignore[assignment]

        from idempotency.tests.school import Enrol  # only now: it declares its worst case by that

        Enrol.isolation = SERIALIZABLE
        Enrol.pay.window = timedelta(seconds=10)
