from django.conf import settings
from django.db import migrations, models

# A key that loses its answer is written anew, and so is one whose recovery point moves. With a fifth
# of each page kept for that it stays in its page. It holds for pages that are filled from now on.
KEEP_ROOM_IN_PAGES = "ALTER TABLE idempotency_idempotencykey SET (fillfactor = 80)"
KEEP_NO_ROOM = "ALTER TABLE idempotency_idempotencykey RESET (fillfactor)"

# At the oldest key that has its answer or may still get one. A claim that is being committed is not
# seen, so at least a day back, which is longer than any transaction.
BEGIN_WHERE_THE_ANSWERS_BEGIN = """
INSERT INTO idempotency_reaperposition (id, last_run_at)
SELECT 1, LEAST(now() - interval '1 day',
                min(last_run_at) FILTER (WHERE response_body IS NOT NULL
                                            OR recovery_point <> 'finished'))
  FROM idempotency_idempotencykey
HAVING count(*) > 0
"""


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0004_finished_keys_by_last_run"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ReaperPosition",
            fields=[
                (
                    "id",
                    models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False),
                ),
                ("last_run_at", models.DateTimeField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id", 1)), name="reaper_position_is_one_row"
                    )
                ],
            },
        ),
        migrations.RunSQL(BEGIN_WHERE_THE_ANSWERS_BEGIN, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="idempotencykey",
            index=models.Index(
                condition=models.Q(("recovery_point", "finished")),
                fields=["last_run_at"],
                name="idempotency_key_finished",
            ),
        ),
        # After the other was built: from here on not even replays can read, but for a moment only.
        migrations.RemoveIndex(model_name="idempotencykey", name="idempotency_key_reapable"),
        migrations.RemoveIndex(model_name="idempotencykey", name="idempotency_key_tombstone"),
        migrations.RunSQL(KEEP_ROOM_IN_PAGES, KEEP_NO_ROOM),
    ]
