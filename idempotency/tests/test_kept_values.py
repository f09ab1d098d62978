"""A value that is kept is the same value again, to its last digit, and nobody can change it."""

import json
import pickle
from copy import copy, deepcopy
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import Group
from django.db import connection, models
from django.utils.safestring import mark_safe

from idempotency.exceptions import ParameterNotKept, Parked
from idempotency.support.kept_values import find_instances, keep, readable, references_in, restore

AMSTERDAM = ZoneInfo("Europe/Amsterdam")


def through_the_database(kept):
    with connection.cursor() as cursor:
        cursor.execute("SELECT (%s::jsonb)::text", [json.dumps(kept)])
        return json.loads(cursor.fetchone()[0])


def again(value):
    kept = through_the_database(keep("field", value))
    instances = find_instances(references_in(kept))
    return restore(kept, instances.__getitem__)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        2**70,
        "",
        "Grüße! 📚",
        "true",
        0.1,
        1.0,
        -0.0,
        1e300,
        float("inf"),
        Decimal("1.20"),
        Decimal("1.2"),
        Decimal("-0"),
        Decimal("1E+5"),
        Decimal("1.0000000000000000000000000000000000000000001"),
        datetime(2026, 10, 25, 2, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2))),
        datetime(2026, 10, 25, 2, 30, tzinfo=UTC),
        datetime(2026, 1, 31, 12),  # noqa: DTZ001 - of a project that uses no time zones
        date(2026, 1, 31),
        time(23, 59, 59, 999999),
        time(12, tzinfo=UTC),
        timedelta(days=400, hours=3, microseconds=1),
        -timedelta(microseconds=1),
        timedelta.max,
        timedelta.min,
        UUID(int=1),
    ],
    ids=repr,
)
def test_a_value_comes_back_as_it_was(value):
    assert repr(again(value)) == repr(value)


@pytest.mark.django_db
@pytest.mark.parametrize("fold", [0, 1])
def test_each_of_the_two_hours_of_an_autumn_night_comes_back_as_the_one_it_was(fold):
    value = datetime(2026, 10, 25, 2, 30, tzinfo=AMSTERDAM, fold=fold)

    assert again(value).timestamp() == value.timestamp()
    assert again(value).utcoffset() == value.utcoffset()


@pytest.mark.django_db
def test_lists_and_dicts_come_back_with_what_they_hold_and_in_their_order():
    value = {"zebra": [Decimal("1.50"), {"a": None}], "a": (date(2026, 1, 1),), "": []}

    assert again(value) == {
        "zebra": (Decimal("1.50"), {"a": None}),
        "a": (date(2026, 1, 1),),
        "": (),
    }
    assert list(again(value)) == ["zebra", "a", ""]
    assert json.dumps(again({"a": [1]})) == '{"a": [1]}'


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept.update(a=2),
        lambda kept: kept.pop("a"),
        lambda kept: kept.popitem(),
        lambda kept: kept.clear(),
        lambda kept: kept.setdefault("b", 2),
        lambda kept: kept.__setitem__("a", 2),
        lambda kept: kept.__delitem__("a"),
        lambda kept: kept.__ior__({"a": 2}),
    ],
)
def test_a_dict_cannot_be_changed(change):
    value = restore(keep("field", {"a": 1}), lambda reference: reference)

    with pytest.raises(TypeError, match="cannot be changed"):
        change(value)

    assert value == {"a": 1}


@pytest.mark.parametrize("copied", [copy, deepcopy, lambda kept: pickle.loads(pickle.dumps(kept))])
def test_a_dict_that_cannot_be_changed_can_be_copied_as_one(copied):
    value = restore(keep("field", {"a": {"b": 1}}), lambda reference: reference)

    assert copied(value) == {"a": {"b": 1}}
    with pytest.raises(TypeError, match="cannot be changed"):
        copied(value)["a"]["b"] = 2


@pytest.mark.django_db
def test_an_instance_is_read_from_the_database_again():
    group = Group.objects.create(name="readers")
    kept = keep("field", group)
    Group.objects.update(name="writers")

    found = restore(kept, find_instances(references_in(kept)).__getitem__)

    assert kept == {"model": "auth.group", "pk": group.pk}
    assert (found, found.name) == (group, "writers")
    assert found is not group


class ReadingFromReplicas:
    def db_for_read(self, model, **hints):
        return "a replica that lags"


@pytest.mark.django_db
def test_an_instance_is_read_where_it_is_written_since_a_replica_may_not_have_it_yet(settings):
    group = Group.objects.create(name="staff")
    settings.DATABASE_ROUTERS = [f"{__name__}.ReadingFromReplicas"]

    assert find_instances(references_in(keep("field", group))) == {("auth.group", group.pk): group}


@pytest.mark.django_db
def test_instances_are_read_in_one_query_and_keep_their_order(django_assert_num_queries):
    groups = [Group.objects.create(name=name) for name in "cab"]
    chosen = Group.objects.order_by("name")

    with django_assert_num_queries(3):  # the choice, the way through the database, the reading
        assert again(chosen) == (groups[1], groups[2], groups[0])


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), "builtins.object"),
        (b"bytes", "builtins.bytes"),
        ({1, 2}, "builtins.set"),
        (Fraction(1, 3), "fractions.Fraction"),
        (Enum("Colour", "RED").RED, "Colour"),
        (models.TextChoices("Colour", "RED").RED, "Colour"),
        (mark_safe("text"), "SafeString"),
        ({1: "a"}, "int"),
        ([[object()]], "builtins.object"),
        (Group(name="new"), "auth.Group that is not saved"),
        ("a\x00b", "NUL"),
        ("a\ud83d", "half"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_kept_is_refused_by_an_error_that_names_field_and_type(value, kind):
    with pytest.raises(ParameterNotKept) as refused:
        keep("colour", value)

    assert "'colour'" in str(refused.value)
    assert kind in str(refused.value)


@pytest.mark.parametrize(
    "kept", [{"colour": "red"}, [{"colour": "red"}], {"dict": [["a", {"colour": "red"}]]}]
)
def test_what_another_version_has_kept_parks_the_request(kept):
    with pytest.raises(Parked, match="cannot read a kept 'colour'"):
        restore(kept, lambda reference: reference)


def test_a_model_that_the_code_no_longer_has_parks_the_request():
    with pytest.raises(Parked, match="has no model shop"):
        find_instances(references_in([{"model": "shop.book", "pk": 1}]))


def test_people_are_shown_values_without_their_types():
    value = {
        "at": datetime(2026, 1, 31, 12, tzinfo=UTC),
        "price": Decimal("1.20"),
        "groups": [Group(pk=7)],
        "how": {"often": 2, "gift": True, "note": None},
    }

    assert {name: readable(keep(name, item)) for name, item in value.items()} == {
        "at": "2026-01-31T12:00:00+00:00",
        "price": "1.20",
        "groups": ["auth.group 7"],
        "how": {"often": 2, "gift": True, "note": None},
    }
