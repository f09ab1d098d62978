from django.apps import AppConfig


class RidesConfig(AppConfig):
    name = "rides"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from rides import checks  # noqa: F401 - importing it registers the checks
