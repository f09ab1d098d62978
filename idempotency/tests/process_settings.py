"""The settings of the processes that tests start: the project's, with the bookshop's URLs, the
test's database and the ledger's address."""

import json
import os
from datetime import timedelta
from importlib import import_module

_project = import_module(os.environ["PROJECT_SETTINGS"])
globals().update({name: value for name, value in vars(_project).items() if name.isupper()})

ROOT_URLCONF = "idempotency.tests.bookshop"
LEDGER_URL = os.environ["LEDGER_URL"]
DATABASES = {"default": {**_project.DATABASES["default"], "NAME": os.environ["TEST_DATABASE"]}}
IDEMPOTENCY = {
    "AUTHENTICATE": "idempotency.tests.bookshop.customer_of",
    **{
        name.upper(): timedelta(seconds=value)
        for name, value in json.loads(os.environ["IDEMPOTENCY_SECONDS"]).items()
    },
}
