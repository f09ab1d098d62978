"""To look at: keys, jobs and decisions in Django's admin. Importing it registers the pages."""

from idempotency.admin import jobs, keys  # noqa: F401
from idempotency.console import overview  # noqa: F401
