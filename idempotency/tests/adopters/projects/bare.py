"""Neither the admin nor `auth` nor `contenttypes` is installed."""

from projects.common import *  # noqa: F403
