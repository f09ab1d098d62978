"""Reads go to a replica which is so late that it has the accounts and nothing else."""

from projects.common import *  # noqa: F403
from projects.common import postgres

DATABASES = {"default": postgres(), "replica": postgres("_replica")}
DATABASE_ROUTERS = ["idempotency.database.ReadsWhereItWrites", "projects.routers.FromReplica"]
