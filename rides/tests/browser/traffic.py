"""An hour of the simulator's traffic in a few seconds, for pictures that show a service at work."""

import tempfile
from pathlib import Path

from django.db import connection
from django.db.models import Sum

from idempotency.models import IdempotencyKey, Rollup
from rides.tests.processes import Api, running_command
from sandbox.stripe.control import StandIn
from sandbox.supervisor import wait_until

# What was counted in the busiest minute was in each of the hour before too, more or less.
SPREAD = """
INSERT INTO idempotency_rollup (span, at, what, operation, name, outcome, count, seconds, buckets)
SELECT span, at - n * INTERVAL '1 minute', what, operation, name, outcome,
       count * f, seconds * f, ARRAY(SELECT bucket * f FROM unnest(buckets) AS bucket)
  FROM (SELECT at FROM idempotency_rollup WHERE span = 'minute'
         GROUP BY at ORDER BY sum(count) DESC LIMIT 1) AS busiest
  JOIN idempotency_rollup USING (at),
       generate_series(1, 58) AS n, LATERAL (SELECT 3 + n * 7 % 5 AS f) AS more
 WHERE span = 'minute'
    ON CONFLICT DO NOTHING
"""


def an_hour_of_traffic(api: Api, stand_in: StandIn, failures: str = "0") -> None:
    """Run the simulator for some seconds, and spread what it did over an hour."""
    traffic = ["simulator", "--rate", "8", "--duration", "4", "--failures", failures]
    traffic += ["--retries", "0.5", "--url", api.url]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_command(*traffic, stand_in=stand_in, folder=Path(folder)) as simulator,
    ):
        assert simulator.process.wait(30) == 0
    wait_until(all_is_told)
    with connection.cursor() as cursor:
        cursor.execute(SPREAD)


def all_is_told() -> bool:
    """Say whether the API's processes have told of each key that they have claimed."""
    claims = Rollup.objects.filter(span="minute", what="claim", name="claimed")
    told = claims.aggregate(Sum("count"))["count__sum"] or 0
    return told >= IdempotencyKey.objects.count()
