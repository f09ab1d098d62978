"""Audit records grow for ever, unless an operator says how long they are kept."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db.models.functions import Now

from rides import pruning
from rides.models import AuditRecord
from rides.tests.factories import RiderFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def records():
    """So many records of each age in days, the oldest first."""

    def make(*ages, each=1):
        rider = RiderFactory()
        for age in ages:
            AuditRecord.objects.bulk_create(
                AuditRecord(
                    action="ride.created", resource_type="ride", resource_id=age, user=rider
                )
                for _ in range(each)
            )
            made = AuditRecord.objects.filter(resource_id=age)
            made.update(created_at=Now() - timedelta(days=age))

    return make


def test_records_that_are_older_go_and_the_others_stay(records):
    records(800, 731, 729, 1)
    said = io.StringIO()

    call_command("prune_audit_records", "--older-than-days", "730", stdout=said)

    assert said.getvalue() == "removed=2\n"
    assert set(AuditRecord.objects.values_list("resource_id", flat=True)) == {729, 1}


def test_where_all_are_older_all_go_batch_by_batch(records, monkeypatch):
    records(900, 800, each=30)
    monkeypatch.setattr("rides.management.commands.prune_audit_records.BATCH", 7)

    call_command("prune_audit_records", "--older-than-days", "730", stdout=io.StringIO())

    assert not AuditRecord.objects.exists()


def test_a_batch_has_its_limit(records):
    records(900, each=30)

    removed = pruning.remove_audit_records(older_than=timedelta(days=730), limit=7)

    assert (removed, AuditRecord.objects.count()) == (7, 23)


def test_how_long_they_are_kept_must_be_said():
    with pytest.raises(CommandError):
        call_command("prune_audit_records")
