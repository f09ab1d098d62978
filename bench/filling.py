"""A database with many finished keys, filled by `generate_series`, not by requests.

Keys alone: what a request or a worker reads besides them it finds by the key's own id. Apart from
the figures, because other benchmarks may want a large table too.
"""

from typing import Any

from django.db import connection

# Copies of the first request, ten a millisecond, so that ten million are a quarter of an hour's.
FINISHED_KEYS = """
INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, request_method, request_path, request_params, fingerprint,
        origin_ip, foreign_key, lease_token, created_at, last_run_at, run_after, attempt,
        recovery_point, foreign_sent_at, response_code, response_body, response_content_type,
        last_error, journal)
SELECT user_id, gen_random_uuid(), request_method, request_path, request_params, fingerprint,
       origin_ip, gen_random_uuid(), gen_random_uuid(), at, at, at, attempt, recovery_point,
       at, response_code, response_body, response_content_type, last_error, journal
  FROM (SELECT * FROM idempotency_idempotencykey ORDER BY id LIMIT 1) AS first,
       (SELECT now() - %(age)s::interval - n * interval '100 microseconds' AS at
          FROM generate_series(1, %(keys)s) AS n) AS filled
"""

# As an outage of Stripe's leaves them: the ride is recorded, its charge is not.
DUE_KEYS = """
WITH due AS (
    INSERT INTO idempotency_idempotencykey
           (user_id, idempotency_key, request_method, request_path, request_params, fingerprint,
            foreign_key, lease_token, created_at, last_run_at, run_after, attempt, recovery_point,
            foreign_sent_at, last_error, journal)
    SELECT rider.id, 'left-by-an-outage-' || gen_random_uuid(), 'POST', '/rides',
           '{"origin_lat": "0", "origin_lon": "0", "target_lat": "0", "target_lon": "0"}',
           md5(n::text), gen_random_uuid(), gen_random_uuid(),
           now() - interval '1 hour', now() - interval '1 hour', now() - interval '1 minute', 1,
           'ride_created', now() - interval '1 hour', '', '[]'
      FROM rides_user AS rider, generate_series(1, %(keys)s) AS n
     WHERE rider.email = 'user@example.com'
 RETURNING id, user_id, created_at
)
INSERT INTO rides_ride
       (idempotency_key_id, user_id, created_at, origin_lat, origin_lon, target_lat, target_lon,
        amount_cents, currency)
SELECT id, user_id, created_at, 0, 0, 0, 0, 2000, 'usd' FROM due
"""

MEASURE_KEYS = """
SELECT pg_total_relation_size('idempotency_idempotencykey') / count(*)
  FROM idempotency_idempotencykey
"""

COUNT_KEYS = "SELECT count(*) FROM idempotency_idempotencykey"


def fill_up_to(size: int, *, overdue: int) -> None:
    """Adds finished keys until there are `size`, among them `overdue` more that may be reaped.

    One request must have been answered already: they are its copies.
    """
    missing = size - int(_execute(COUNT_KEYS)[0][0])
    assert missing >= overdue, f"{size:,} keys have no room for {overdue:,} overdue ones"
    _execute(FINISHED_KEYS, age="4 days", keys=overdue)
    _execute(FINISHED_KEYS, age="1 hour", keys=missing - overdue)
    settle()


def bytes_a_key() -> float:
    return float(_execute(MEASURE_KEYS)[0][0])


def leave_due_keys(keys: int) -> None:
    _execute(DUE_KEYS, keys=keys)


def settle() -> None:
    """Does now what autovacuum and the checkpointer would do during the measurement."""
    _execute("VACUUM (ANALYZE)")
    _execute("CHECKPOINT")


def _execute(statement: str, **values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []
