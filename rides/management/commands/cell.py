from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

HAS_CITUS = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')"

# On Citus such a schema lies on one node, with all that is made in it.
SHARD_BY_SCHEMA = "SET citus.enable_schema_based_sharding = on"

# Each node draws ids from a range of its own, so that none is drawn twice. Four bytes are too few
# for Citus' own ranges, and it gives them none: Django's log of the admin could not be written to
# through a node. So each of the first twenty has a hundred million of them.
ON_EACH_NODE = """
SELECT bool_and(success), string_agg(DISTINCT result, '; ') FROM run_command_on_all_nodes(%s)
"""
TAKE_RANGE_OF_IDS = """
DO $$
DECLARE
    node   bigint := (SELECT groupid FROM pg_dist_local_group);
    called text;
BEGIN
    PERFORM set_config('citus.enable_ddl_propagation', 'off', true);
    FOR called IN
        SELECT format('%I.%I', schemaname, sequencename) FROM pg_sequences
         WHERE schemaname = current_schema AND data_type::text = 'integer'
           AND max_value = 2147483647 AND node BETWEEN 1 AND 20
    LOOP
        EXECUTE format('ALTER SEQUENCE %1$s MINVALUE %2$s MAXVALUE %3$s START %2$s RESTART',
                       called, node * 100000000, (node + 1) * 100000000 - 1);
    END LOOP;
END
$$
"""

TABLES_OF_OTHERS = """
SELECT schemaname, format('%%I.%%I', schemaname, tablename) FROM pg_tables
 WHERE tablename = 'idempotency_foreignkeynamespace' AND schemaname <> %s
"""

NODE_OF_CELL = """
SELECT nodename || ':' || nodeport FROM citus_shards
 WHERE table_name = 'idempotency_idempotencykey'::regclass
"""


class Command(BaseCommand):
    """What a cell is, and how one is moved: docs/scaling.md."""

    help = "Make the schema of this cell, DATABASE_SCHEMA, with all its tables; or say where it is."

    # There is nothing to check yet where it begins.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "action",
            choices=["create", "show"],
            help="create: on Citus through the coordinator, and again after a node was added.",
        )

    def handle(self, *, action: str, **options: Any) -> None:
        schema = settings.DATABASE_SCHEMA
        if not schema:
            raise CommandError("DATABASE_SCHEMA names no schema: this cell is the database itself.")
        namespace = settings.IDEMPOTENCY["FOREIGN_KEY_NAMESPACE"]
        with connection.cursor() as cursor:
            cursor.execute(HAS_CITUS)
            [has_citus] = cursor.fetchone()
            if action == "create":
                self._refuse_namespace_of_another(cursor, schema, namespace)
                if has_citus:
                    cursor.execute(SHARD_BY_SCHEMA)
                cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")  # settings know the name
                call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
                if has_citus:
                    take = TAKE_RANGE_OF_IDS.replace("current_schema", f"'{schema}'")
                    cursor.execute(ON_EACH_NODE, [take])
                    self._refuse_failure(*cursor.fetchone())
            where = "this server"
            if has_citus:
                cursor.execute(NODE_OF_CELL)
                [where] = cursor.fetchone()
        self.stdout.write(f"cell={settings.CELL} schema={schema} node={where} {namespace=!s}")

    def _refuse_namespace_of_another(self, cursor: Any, schema: str, namespace: UUID) -> None:
        """Of two cells with one mark at Stripe, each would take the other's charges for strays."""
        cursor.execute(TABLES_OF_OTHERS, [schema])
        for other, table in cursor.fetchall():
            cursor.execute(f"SELECT FROM {table} WHERE namespace = %s", [namespace])
            if cursor.rowcount:
                raise CommandError(
                    f"FOREIGN_KEY_NAMESPACE is that of the schema {other}: draw another one."
                )

    def _refuse_failure(self, succeeded: bool, said: str) -> None:
        if not succeeded:
            raise CommandError(f"A node did not take its range of ids: {said}")
