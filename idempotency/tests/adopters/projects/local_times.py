"""Times are naive, and those of a zone."""

from projects.common import *  # noqa: F403

USE_TZ = False
TIME_ZONE = "Asia/Tokyo"
