import os

from django.apps import AppConfig


class IdempotencyConfig(AppConfig):
    name = "idempotency"
    verbose_name = "Idempotency"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from idempotency import (  # noqa: F401 - importing them registers the checks
            checks,
            database_checks,
            deploys,
            surroundings,
        )
        from idempotency.forks import leave_connections_to_the_parent

        os.register_at_fork(after_in_child=leave_connections_to_the_parent)
