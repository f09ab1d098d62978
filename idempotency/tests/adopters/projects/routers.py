from typing import Any


class ShopApart:
    """Leads the shop and the app to a database of theirs; the queue stays in `default`."""

    there = ("shop", "idempotency")

    def db_for_read(self, model: Any, **_: Any) -> str:
        return "shop" if model._meta.app_label in self.there else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool:
        return (db == "shop") == (app_label in self.there)


class FromReplica:
    """Django's own example, but for the queue, whose worker locks the rows that it reads."""

    def db_for_read(self, model: Any, **_: Any) -> str:
        return "default" if model._meta.app_label == "django_tasks_database" else "replica"

    def db_for_write(self, model: Any, **_: Any) -> str:
        return "default"

    def allow_relation(self, one: Any, other: Any, **_: Any) -> bool:
        return True
