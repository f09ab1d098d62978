"""What a reaper's batch costs in a small table and in a large one.

    python -m bench.reaping [--sizes 10000 1000000 10000000]

The table is filled by `generate_series` to each size in turn, with finished keys of which one
percent, but at least 6,000, are past their retention. Then six batches of each step are taken, and
the first is not counted.
"""

import os
import statistics
import time
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from bench.surroundings import bench_database
from sandbox.stripe.process import running_stand_in

BATCH = 1000
BATCHES = 6
LEAST_OVERDUE = BATCH * BATCHES

FILL = """
INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, request_method, request_path, request_params, fingerprint,
        foreign_key, created_at, last_run_at, run_after, attempt, recovery_point, response_code,
        response_body, response_content_type, last_error, journal)
SELECT %(user_id)s, 'finished-long-ago-' || lpad(n::text, 10, '0'), 'POST', '/rides',
       '{"origin_lat": "0", "origin_lon": "0", "target_lat": "0", "target_lon": "0"}',
       md5(n::text), gen_random_uuid(), at, at, at, 1, 'finished', 201,
       '{"message": "Payment accepted. Your pilot is on their way!"}', 'application/json', '',
       '[{"at": "2026-01-01T00:00:00+00:00", "event": "claimed", "attempt": 1}]'
  FROM (SELECT n, now() - %(age)s::interval - n * interval '1 millisecond' AS at
          FROM generate_series(%(first)s, %(last)s) AS n) AS filled
"""


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    sizes = parser.parse_args().sizes
    with running_stand_in() as stand_in, bench_database(stand_in) as environment:
        os.environ.update(environment, DJANGO_SETTINGS_MODULE="rocketrides.settings")
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        print(f"{'keys':>12} {'answers reaped, ms':>20} {'tombstones removed, ms':>24}")
        rows = 0
        for size in sizes:
            rows = _fill(rows, size)
            _measure(size)


def _fill(rows: int, size: int) -> int:
    from django.contrib.auth import get_user_model
    from django.db import connection

    user, _ = get_user_model().objects.get_or_create(email="bench@example.com", is_staff=True)
    overdue = max(LEAST_OVERDUE, size // 100)
    with connection.cursor() as cursor:
        for count, age in ((overdue, "4 days"), (size - rows - overdue, "1 hour")):
            first = rows + 1
            rows += max(0, count)
            values: dict[str, Any] = {"user_id": user.pk, "age": age, "first": first, "last": rows}
            cursor.execute(FILL, values)
        cursor.execute("VACUUM (ANALYZE) idempotency_idempotencykey")
    return rows


def _measure(size: int) -> None:
    from django.db import connection

    from idempotency.reaping import reap_finished_keys, remove_tombstones

    reaped = _median_ms(reap_finished_keys)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE idempotency_idempotencykey SET created_at = created_at - interval '40 days'"
            " WHERE recovery_point = 'finished' AND response_body IS NULL"
        )
        cursor.execute("VACUUM (ANALYZE) idempotency_idempotencykey")
    removed = _median_ms(remove_tombstones)
    print(f"{size:>12,} {reaped:>20.1f} {removed:>24.1f}", flush=True)


def _median_ms(take_batch: Callable[[int], int]) -> float:
    took = []
    for _ in range(BATCHES):
        began_at = time.monotonic()
        assert take_batch(BATCH) == BATCH
        took.append(1000 * (time.monotonic() - began_at))
    return statistics.median(took[1:])


if __name__ == "__main__":
    main()
