import os
from datetime import timedelta

from django.apps import AppConfig


class ProofConfig(AppConfig):
    """Stripe's hours as seconds, so that a run of a minute sees what else takes days."""

    name = "proof"

    def ready(self) -> None:
        from rides import payments
        from rides.operations import CreateRide

        payments.CONNECT_TIMEOUT_SECONDS = 0.5  # type: ignore[assignment]
        payments.READ_TIMEOUT_SECONDS = 0.8  # type: ignore[assignment]
        payments.RETRIES = 0
        payments.LOOKUP_SECONDS = 1
        CreateRide.isolation = os.environ.get("PROOF_ISOLATION", CreateRide.isolation)
        CreateRide.charge_rider.window = timedelta(seconds=10)
        CreateRide.charge_rider.worst_case = timedelta(seconds=1.3 + 1 + 1.3)
