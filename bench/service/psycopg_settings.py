"""The benchmark's settings for psycopg 3, whose driver prepares what a connection asks often.

Django has both off, for poolers in transaction mode. A statement is prepared only where its values
are bound by the server.
"""

from bench.service.settings import *  # noqa: F403
from bench.service.settings import DATABASES

PREPARE_THRESHOLD = 5  # psycopg's own default: times that a statement is asked before
DATABASES["default"]["OPTIONS"] |= {
    "server_side_binding": True,
    "prepare_threshold": PREPARE_THRESHOLD,
}
