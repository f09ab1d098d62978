-- A ride's writes and nothing else: the claim, the ride, its audit record, the progress; then, once
-- Stripe has answered, the charge's id, the staged job, and the end. Two transactions, because none
-- may be open while Stripe is asked. The same rows as a ride of the API leaves, compared by a test.

\set rider random(1, :riders)

BEGIN;

INSERT INTO idempotency_idempotencykey
       (user_id, idempotency_key, operation, path_kwargs, request_method, request_path,
        request_params, fingerprint, origin_ip, foreign_key, recovery_point, attempt, lease_token,
        created_at, last_run_at, locked_at, foreign_sent_at, run_after, last_error, journal)
SELECT :rider, 'floor-' || gen_random_uuid() || '-0000000000', 'rides.CreateRide', '{}'::jsonb, 'POST', '/rides',
       '{"origin_lat": {"decimal": "37.7793"}, "origin_lon": {"decimal": "-122.4192"}, "target_lat": {"decimal": "37.6213"}, "target_lon": {"decimal": "-122.379"}}'::jsonb,
       '6d6157257c701e4505e7923589787d21e26dd618a1dc3ff5fb9a946a7a4b0b7b',
       '127.0.0.1'::inet, gen_random_uuid(), 'started', 1, gen_random_uuid(),
       now, now, now, NULL, now + '300 seconds'::interval, '',
       jsonb_build_array(jsonb_build_object('at', now, 'event', 'claimed', 'attempt', 1,
                                            'request_id', replace(gen_random_uuid()::text, '-', '')))
  FROM (SELECT clock_timestamp() AS now) AS clock
    ON CONFLICT (user_id, idempotency_key) DO NOTHING
RETURNING id AS key_id \gset

INSERT INTO rides_ride
       (user_id, idempotency_key_id, foreign_key, stripe_customer_id, created_at,
        origin_ip, origin_lat, origin_lon, target_lat, target_lon,
        amount_cents, currency, stripe_payment_intent_id, stripe_charge_id, cancelled_at)
VALUES (:rider, :key_id, gen_random_uuid(), 'cus_' || :rider, DEFAULT,
        '127.0.0.1'::inet, '37.7793', '-122.4192', '37.6213', '-122.379',
        2000, 'usd', NULL, NULL, NULL)
RETURNING id AS ride_id, quote_literal('/rides/' || public_id) AS location \gset

INSERT INTO rides_auditrecord
       (action, created_at, data, resource_id, resource_type, user_id)
VALUES ('ride.created', DEFAULT, '{"amount_cents": 2000, "currency": "usd"}'::jsonb,
        :ride_id, 'ride', :rider);

UPDATE idempotency_idempotencykey
   SET recovery_point  = 'ride_created',
       locked_at       = clock_timestamp(),
       foreign_sent_at = clock_timestamp(),
       run_after       = GREATEST(run_after, clock_timestamp()),
       journal         = journal
                         || jsonb_build_object(
                              'at', clock_timestamp(), 'event', 'create_ride', 'attempt', 1,
                              'recovery_point', 'ride_created', 'ms', 0.6)
 WHERE id = :key_id AND attempt = 1 AND recovery_point <> 'finished';

COMMIT;

\sleep :stripe_ms ms

BEGIN;

UPDATE rides_ride
   SET stripe_charge_id         = 'ch_' || left(md5('' || :ride_id::bigint), 24),
       stripe_payment_intent_id = 'pi_' || left(md5('' || :ride_id::bigint), 24)
 WHERE id = :ride_id;

INSERT INTO idempotency_stagedjob (job_id, job_name, job_args, created_at)
VALUES (gen_random_uuid(), 'rides.tasks.send_ride_receipt',
        jsonb_build_object('args', jsonb_build_array(), 'kwargs', jsonb_build_object(
          'ride_id', :ride_id::bigint, 'user_id', :rider::bigint, 'currency', 'usd', 'amount_cents', 2000)),
        clock_timestamp());

UPDATE idempotency_idempotencykey
   SET recovery_point        = 'finished',
       locked_at             = NULL,
       run_after             = GREATEST(run_after, clock_timestamp()),
       response_code         = 201,
       response_body         = '{"message": "Payment accepted. Your pilot is on their way!"}',
       response_content_type = 'application/json',
       response_headers      = jsonb_build_object('Location', :location::text),
       last_error            = '',
       needs_review_at       = NULL,
       journal               = journal || jsonb_build_array(
         jsonb_build_object('at', clock_timestamp(), 'event', 'charge_rider', 'attempt', 1,
                            'recovery_point', 'ride_created', 'ms', 2.1,
                            'calls', jsonb_build_array(jsonb_build_object(
                              'request_id', 'req_' || left(md5('' || :ride_id::bigint), 24),
                              'status', 200))),
         jsonb_build_object('at', clock_timestamp(), 'event', 'record_charge', 'attempt', 1,
                            'recovery_point', 'charge_created', 'ms', 2.1),
         jsonb_build_object('at', clock_timestamp(), 'event', 'send_receipt', 'attempt', 1,
                            'recovery_point', 'finished', 'ms', 0.4,
                            'jobs', jsonb_build_array(gen_random_uuid())))
 WHERE id = :key_id AND attempt = 1 AND recovery_point <> 'finished';

COMMIT;
