"""The queue on a broker, as a backend of Django's tasks: that of django-tasks-fennel, on Celery."""

from collections.abc import Iterable
from typing import Any

from django.core.checks import CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django_tasks_fennel import CeleryBackend as FennelBackend
from kombu.exceptions import OperationalError

from idempotency.exceptions import BrokerAway
from idempotency.support.context import IN_CELL


class CeleryBackend(FennelBackend):
    """Hand jobs to Celery as fennel does, and keep no results: the delivery record has them."""

    supports_get_result = False

    def enqueue(self, *args: Any, **kwargs: Any) -> Any:
        """Enqueue as fennel does.

        Raises: `BrokerAway` where the broker is, whichever it is; `ImproperlyConfigured` in an
        enqueuer of several cells, since one queue for all of them has a cell's jobs fetched by
        another's worker, which knows none of them.
        """
        if cell := IN_CELL.get():
            raise ImproperlyConfigured(
                f"Jobs of the cell {cell!r} are not handed to a broker that its enqueuer has for "
                "several: run one enqueuer for each cell, with a broker of its own."
            )
        try:
            return super().enqueue(*args, **kwargs)
        except OperationalError as error:
            raise BrokerAway from error

    def check(self, **kwargs: Any) -> Iterable[CheckMessage]:
        """Check nothing: fennel checks the app's installation, which `settings` does, and gives
        advice on results and priorities, which every command of the project would print.
        """
        return []
