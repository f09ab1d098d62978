"""Before it can do harm: system checks. Importing it registers them."""

from idempotency.checks import database, deploys, operations, settings  # noqa: F401
