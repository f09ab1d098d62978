"""The service's Django app."""

from django.apps import AppConfig


class RidesConfig(AppConfig):
    name = "rides"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from idempotency.review import rows
        from idempotency.watching import metrics
        from rides import checks  # noqa: F401 - importing it registers the checks
        from rides.reversals.review import BESIDE

        rows.register(BESIDE)
        metrics.listen()
