import os
from datetime import timedelta

from django.apps import AppConfig


class ProofConfig(AppConfig):
    """Stripe's hours as seconds, so that a run of a minute sees what else takes days."""

    name = "proof"

    def ready(self) -> None:
        from rides.operations import CreateRide
        from rides.payments import charging, client

        client.CONNECT_TIMEOUT_SECONDS = 0.5  # type: ignore[assignment]
        client.CALL_TIMEOUT_SECONDS = 1.3  # type: ignore[assignment]
        client.RETRIES = 0
        charging.LOOKUP_SECONDS = 1  # type: ignore[attr-defined]
        CreateRide.isolation = os.environ.get("PROOF_ISOLATION", CreateRide.isolation)
        CreateRide.charge_rider.window = timedelta(seconds=10)
        worst_case = timedelta(seconds=1.3 + 1 + 1.3)
        CreateRide.charge_rider.worst_case = CreateRide.take_back_charge.worst_case = worst_case
