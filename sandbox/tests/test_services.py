"""What the demo prepares before its processes start."""

import pytest
from django.db.migrations.recorder import MigrationRecorder

from sandbox.services import prepare_database


@pytest.mark.django_db(transaction=True)
def test_a_demo_over_a_database_from_before_the_first_release_says_in_a_line_how_to_begin_again():
    of_before = MigrationRecorder.Migration.objects.create(
        app="idempotency", name="0002_tombstones"
    )
    try:
        with pytest.raises(SystemExit) as refused:
            prepare_database()
    finally:
        of_before.delete()

    assert str(refused.value).startswith("The database cannot be prepared: The database 'default' ")
    assert "Begin again with an empty one" in str(refused.value)
    assert "\n" not in str(refused.value)
