import os

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class IdempotencyConfig(AppConfig):
    name = "idempotency"
    verbose_name = "Idempotency"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from idempotency import checks  # noqa: F401 - importing it registers them
        from idempotency.console.roles import make_roles
        from idempotency.foreign_keys import keep_namespace
        from idempotency.support.forks import leave_connections_to_the_parent
        from idempotency.watching.listening import listen

        listen()
        post_migrate.connect(make_roles, dispatch_uid="idempotency.roles")
        post_migrate.connect(keep_namespace, sender=self, dispatch_uid="idempotency.namespace")

        os.register_at_fork(after_in_child=leave_connections_to_the_parent)
