import os

from django.apps import AppConfig


class IdempotencyConfig(AppConfig):
    name = "idempotency"
    verbose_name = "Idempotency"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from idempotency import checks  # noqa: F401 - importing it registers them
        from idempotency.support.forks import leave_connections_to_the_parent
        from idempotency.watching.listening import listen

        listen()

        os.register_at_fork(after_in_child=leave_connections_to_the_parent)
