"""To look at in the admin: keys, jobs, decisions and workers. Importing it registers the pages."""

from idempotency.admin import jobs, keys  # noqa: F401
from idempotency.console import overview, workers  # noqa: F401
