"""Django's task interface, from wherever this Django has it, and the queue in our own database.

Django 6.0 took `django-tasks` in as `django.tasks`; Django 5.2 has it from the package. Nothing
else in the project asks which one it is.
"""

import django

if django.VERSION >= (6, 0):
    from django.tasks import Task, TaskContext, TaskResult, TaskResultStatus, task
    from django.tasks.exceptions import InvalidTask
    from django.utils.json import normalize_json
else:
    from django_tasks import (  # type: ignore[assignment, no-redef, unused-ignore]
        TaskContext,
        TaskResult,
        TaskResultStatus,
        task,
    )
    from django_tasks.base import Task  # type: ignore[assignment, no-redef, unused-ignore]
    from django_tasks.exceptions import (  # type: ignore[assignment, no-redef, unused-ignore]
        InvalidTaskError as InvalidTask,
    )
    from django_tasks.utils import normalize_json  # type: ignore[no-redef, unused-ignore]

try:
    from django_tasks_db.backend import DatabaseBackend
except ImportError:  # the queue is a broker's
    DatabaseBackend = None  # type: ignore[assignment, misc, unused-ignore]

__all__ = [
    "DatabaseBackend",
    "InvalidTask",
    "Task",
    "TaskContext",
    "TaskResult",
    "TaskResultStatus",
    "normalize_json",
    "task",
]
