from django.db import migrations, models
from django.urls import Resolver404, resolve


def name_the_operations(apps, schema_editor):
    """Give unfinished keys what they were found and run by until now: the operation at their
    request's path, that path's arguments, and what its form makes of their parameters.

    What cannot be told keeps the empty name, and is parked until a person closes it.
    """
    keys = apps.get_model("idempotency", "IdempotencyKey").objects.using(
        schema_editor.connection.alias
    )
    for key in keys.exclude(recovery_point="finished").iterator():
        try:
            match = resolve(key.request_path)
        except Resolver404:
            continue
        operation = getattr(match.func, "operation_class", None)
        if operation is None:
            continue
        _name_operation(key, operation, match.kwargs)


def _name_operation(key, operation, path_kwargs):
    from idempotency.exceptions import OperationMisuse
    from idempotency.http.bodies import Sent
    from idempotency.http.refusals import ParametersInvalid
    from idempotency.http.shapes import kept_by_form
    from idempotency.parameters import keep_all

    try:
        key.path_kwargs = keep_all(path_kwargs)
        key.request_params, _ = kept_by_form(
            Sent(key.request_params), operation.params_form, operation.transient_fields
        )
    except (ParametersInvalid, OperationMisuse):
        return
    key.operation = operation.name
    key.save(update_fields=["operation", "path_kwargs", "request_params"])


class Migration(migrations.Migration):
    dependencies = [
        ("idempotency", "0009_completer_attempts"),
    ]

    # With defaults in the database: a process of the version before writes keys until it is stopped.
    operations = [
        migrations.AddField(
            model_name="idempotencykey",
            name="operation",
            field=models.CharField(blank=True, db_default="", max_length=255),
        ),
        migrations.AddField(
            model_name="idempotencykey",
            name="path_kwargs",
            field=models.JSONField(blank=True, db_default=models.Value({}, models.JSONField())),
        ),
        migrations.RunPython(name_the_operations, migrations.RunPython.noop),
    ]
