-- What the service may not do to some of the tables, although it may to most: as the owner, after
-- each `manage.py migrate`. It may be run as often as one likes.
--
--   psql postgres://rides_owner@db.example.com/rocketrides -f deploy/grants.sql
--
-- `manage.py check --deploy --database default` as the service says (rides.W004) where it is missing.
\set ON_ERROR_STOP on
\if :{?service} \else \set service rides_service \endif
BEGIN;

-- Who did what, and who decided what: written and read, and never changed. What is personal does not
-- stand there. Old records are removed by the owner (`manage.py prune_audit_records`).
REVOKE UPDATE, DELETE, TRUNCATE ON rides_auditrecord, idempotency_reviewdecision
  FROM :"service";

-- What `migrate` alone writes.
REVOKE INSERT, UPDATE, DELETE, TRUNCATE
  ON django_migrations, django_content_type, auth_permission, idempotency_foreignkeynamespace
  FROM :"service";

COMMIT;
