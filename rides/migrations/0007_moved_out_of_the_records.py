"""The addresses and places of the records there are, moved to their rides: a batch a transaction.

What processes of the release before write meanwhile is moved when this is run once more.
"""

from typing import Any

from django.db import migrations

BATCH = 10_000

OLDEST_AND_NEWEST = "SELECT min(id), max(id) FROM rides_auditrecord"

KEEP_WITH_THE_RIDE = """
UPDATE rides_ride AS ride
   SET origin_ip = record.origin_ip
  FROM rides_auditrecord AS record
 WHERE record.id BETWEEN %(first)s AND %(last)s
   AND record.action = 'ride.created'
   AND record.origin_ip IS NOT NULL
   AND record.resource_type = 'ride'
   AND record.resource_id = ride.id
   AND record.user_id = ride.user_id
"""

TAKE_FROM_THE_RECORD = """
UPDATE rides_auditrecord
   SET origin_ip = NULL,
       data = data - ARRAY['origin_lat', 'origin_lon', 'target_lat', 'target_lon']
 WHERE id BETWEEN %(first)s AND %(last)s
   AND action = 'ride.created'
   AND (origin_ip IS NOT NULL OR data ? 'origin_lat')
"""


def move(apps: Any, schema_editor: Any) -> None:
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        cursor.execute(OLDEST_AND_NEWEST)
        first, newest = cursor.fetchone()
        while first is not None and first <= newest:
            batch = {"first": first, "last": first + BATCH - 1}
            # In this order: a run that is broken off between the two loses nothing.
            cursor.execute(KEEP_WITH_THE_RIDE, batch)
            cursor.execute(TAKE_FROM_THE_RECORD, batch)
            first += BATCH


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("rides", "0006_personal_data_beside_the_records")]

    operations = [
        migrations.RunPython(
            move, migrations.RunPython.noop, hints={"model_name": "auditrecord"}, elidable=True
        )
    ]
