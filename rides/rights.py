"""What the database's role may do and need not: the service's own is to be deploy/roles.sql's."""

from collections.abc import Iterator

from django.db import connections

RIGHTS = """
SELECT current_user,
       has_table_privilege('rides_auditrecord', 'UPDATE')
    OR has_table_privilege('rides_auditrecord', 'DELETE')
    OR has_table_privilege('rides_auditrecord', 'TRUNCATE'),
       (SELECT pg_has_role(relowner, 'MEMBER') FROM pg_class
         WHERE oid = 'rides_auditrecord'::regclass)
"""


def needless_rights(alias: str) -> Iterator[str]:
    """Yield what the role of a connection may do, and a service need not."""
    with connections[alias].cursor() as cursor:
        cursor.execute(RIGHTS)
        role, may_change_records, may_alter_tables = cursor.fetchone()
    if may_alter_tables:
        yield f"The database's role {role} may alter and drop the tables."
    elif may_change_records:
        yield f"The database's role {role} may change and delete audit records."
