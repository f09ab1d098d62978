"""The service's settings in production (`DEBUG` off), but for the credential.

That is the demonstration's, the e-mail address in a header, since a load generator has no login.
It costs one SELECT, as an API token would.
"""

from rocketrides.settings import *  # noqa: F403
from rocketrides.settings import IDEMPOTENCY

DEMO_AUTH = True
IDEMPOTENCY = {**IDEMPOTENCY, "AUTHENTICATE": "rides.authentication.demo_rider"}
ROOT_URLCONF = "bench.service.urls"
