"""The settings of the processes that tests start: the project's, with the bookshop's URLs, the
test's database and the ledger's address."""

import json
import os
from datetime import timedelta
from importlib import import_module
from uuid import UUID

_project = import_module(os.environ["PROJECT_SETTINGS"])
globals().update({name: value for name, value in vars(_project).items() if name.isupper()})

ROOT_URLCONF = "idempotency.tests.bookshop"
LEDGER_URL = os.environ["LEDGER_URL"]
DATABASES = {"default": {**_project.DATABASES["default"], "NAME": os.environ["TEST_DATABASE"]}}
IDEMPOTENCY = {
    "PULSE": None,
    "AUTHENTICATE": "idempotency.tests.bookshop.customer_of",
    "FOREIGN_KEY_USER_FIELD": "public_id",
    "FOREIGN_KEY_NAMESPACE": UUID("6f1d2f0e-52c4-4a7e-9b1c-7d3a90e4c815"),
    **{
        name.upper(): timedelta(seconds=value)
        for name, value in json.loads(os.environ["IDEMPOTENCY_SECONDS"]).items()
    },
}
