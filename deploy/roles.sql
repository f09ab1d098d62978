-- The database and its two roles, once, as a superuser of PostgreSQL 14 or newer:
--
--   RIDES_OWNER_PASSWORD=… RIDES_SERVICE_PASSWORD=… \
--     psql postgres://postgres@db.example.com/postgres -f deploy/roles.sql
--
-- Other names: -v database=… -v owner=… -v service=…. The passwords are read from the environment,
-- since every user of a machine sees a process's arguments.
\set ON_ERROR_STOP on
\if :{?database} \else \set database rocketrides \endif
\if :{?owner}    \else \set owner rides_owner \endif
\if :{?service}  \else \set service rides_service \endif
\set owner_password `printf %s "$RIDES_OWNER_PASSWORD"`
\set service_password `printf %s "$RIDES_SERVICE_PASSWORD"`

-- The owner has the tables and changes them: it is for `manage.py migrate`, and no server has its
-- password. A migration that waits for a lock has everybody else wait behind it, so not for long.
CREATE ROLE :"owner" LOGIN PASSWORD :'owner_password';
ALTER ROLE :"owner" SET lock_timeout = '10s';
ALTER ROLE :"owner" SET idle_in_transaction_session_timeout = '60s';

-- The service reads and writes rows. No statement of its is as long as a minute; who waits for a
-- lock is told to come back; and a process that is frozen holds its locks no longer than this.
CREATE ROLE :"service" LOGIN PASSWORD :'service_password';
ALTER ROLE :"service" SET statement_timeout = '60s';
ALTER ROLE :"service" SET lock_timeout = '10s';
ALTER ROLE :"service" SET idle_in_transaction_session_timeout = '30s';

-- PostgreSQL's log gets the first line of an error, and none of the values of what failed.
ALTER ROLE :"service" SET log_error_verbosity = terse;
ALTER ROLE :"service" SET log_min_error_statement = panic;
ALTER ROLE :"service" SET log_parameter_max_length = 0;
ALTER ROLE :"service" SET log_parameter_max_length_on_error = 0;

CREATE DATABASE :"database" OWNER :"owner";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"service";

\connect :"database"
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO :"owner";
GRANT USAGE ON SCHEMA public TO :"service";

-- For the tables of each later migration, so that a new process can work as soon as they are there.
-- That it may read sequences is for the enqueuer, which looks how far one has come.
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner"
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO :"service";
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner"
  GRANT USAGE, SELECT ON SEQUENCES TO :"service";
-- And for the schema of each further cell (`manage.py cell create`).
ALTER DEFAULT PRIVILEGES FOR ROLE :"owner"
  GRANT USAGE ON SCHEMAS TO :"service";
