"""The service's Django app."""

from django.apps import AppConfig


class RidesConfig(AppConfig):
    name = "rides"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from idempotency.console import roles
        from idempotency.review import rows
        from idempotency.watching import metrics
        from rides import checks  # noqa: F401 - importing it registers the checks
        from rides.reversals.review import BESIDE

        rows.register(BESIDE)
        metrics.listen()
        seen = ("ride", "auditrecord", "refund", "dispute")
        decided = ("refund", "dispute")
        roles.extend(
            viewer=tuple(f"rides.view_{model}" for model in seen),
            operator=tuple(f"rides.change_{model}" for model in decided),
            admin=("rides.view_user", "rides.view_apikey", "rides.add_apikey"),
        )
