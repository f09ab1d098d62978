"""The app, and the shop with it, are in another database than `default`, which is no PostgreSQL."""

import os

from projects.common import *  # noqa: F403
from projects.common import IDEMPOTENCY, postgres

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["ADOPTERS_SQLITE"]},
    "shop": postgres(),
}
DATABASE_ROUTERS = ["projects.routers.ShopApart"]
IDEMPOTENCY |= {"DATABASE": "shop"}
