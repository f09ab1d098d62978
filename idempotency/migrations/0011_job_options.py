from django.db import migrations, models

# With defaults in the database, and empty ones, so that no row is written: a process of the version
# before writes jobs until it is stopped.
ADD_COLUMNS = """
ALTER TABLE idempotency_{table}
      ADD COLUMN IF NOT EXISTS run_after  timestamp with time zone,
      ADD COLUMN IF NOT EXISTS priority   smallint,
      ADD COLUMN IF NOT EXISTS queue_name text NOT NULL DEFAULT '',
      ADD COLUMN IF NOT EXISTS backend    text NOT NULL DEFAULT ''
"""
# What waits for its time would go at once: let it be done first.
DROP_COLUMNS = """
ALTER TABLE idempotency_{table}
      DROP COLUMN IF EXISTS run_after,
      DROP COLUMN IF EXISTS priority,
      DROP COLUMN IF EXISTS queue_name,
      DROP COLUMN IF EXISTS backend
"""
DROP_INDEX = "DROP INDEX CONCURRENTLY IF EXISTS {name}"
ADD_INDEX = "CREATE INDEX CONCURRENTLY {name} ON idempotency_stagedjob ({column}) WHERE {condition}"


def add_options(model):
    return migrations.SeparateDatabaseAndState(
        database_operations=[
            migrations.RunSQL(ADD_COLUMNS.format(table=model), DROP_COLUMNS.format(table=model))
        ],
        state_operations=[
            migrations.AddField(model, "run_after", models.DateTimeField(blank=True, null=True)),
            migrations.AddField(model, "priority", models.SmallIntegerField(blank=True, null=True)),
            migrations.AddField(model, "queue_name", models.TextField(blank=True, db_default="")),
            migrations.AddField(model, "backend", models.TextField(blank=True, db_default="")),
        ],
    )


def add_index(index, condition):
    drop = DROP_INDEX.format(name=index.name)
    [column] = index.fields
    add = ADD_INDEX.format(name=index.name, column=column, condition=condition)
    return migrations.SeparateDatabaseAndState(
        database_operations=[migrations.RunSQL([drop, add], drop)],
        state_operations=[migrations.AddIndex("stagedjob", index)],
    )


class Migration(migrations.Migration):
    # Jobs are staged while the indexes are built, which cannot be done in a transaction. So every
    # step may be repeated: a run that was broken off has done what it has done, and leaves an index
    # that is not valid.
    atomic = False

    dependencies = [
        ("idempotency", "0010_operation_and_path_kwargs"),
    ]

    operations = [
        add_options("stagedjob"),
        add_options("jobdelivery"),
        add_index(
            models.Index(
                condition=models.Q(("run_after__isnull", True)),
                fields=["id"],
                name="staged_job_for_now",
            ),
            "run_after IS NULL",
        ),
        add_index(
            models.Index(
                condition=models.Q(("run_after__isnull", False)),
                fields=["run_after"],
                name="staged_job_for_later",
            ),
            "run_after IS NOT NULL",
        ),
    ]
