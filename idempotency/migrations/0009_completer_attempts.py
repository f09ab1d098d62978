from django.db import migrations, models

# As the journal of each unfinished key has it, of which the limit was counted before. A journal that
# dropped entries counts too few, so such a request is tried some more times.
COUNT_IN_JOURNALS = """
UPDATE idempotency_idempotencykey
   SET completer_attempts = GREATEST(0,
         (SELECT count(*) FILTER (WHERE entry ->> 'event' = 'taken_by_completer')
               - count(*) FILTER (WHERE entry ->> 'event' = 'parked')
            FROM jsonb_array_elements(journal) AS entry))
 WHERE recovery_point <> 'finished'
"""


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0008_review_decisions"),
    ]

    operations = [
        migrations.AddField(
            model_name="idempotencykey",
            name="completer_attempts",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.RunSQL(COUNT_IN_JOURNALS, migrations.RunSQL.noop),
    ]
