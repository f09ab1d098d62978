"""The profile: each look counts once, for the innermost part, and no part is a dead name."""

import sys
from collections import Counter
from importlib import import_module
from operator import attrgetter

import pytest

from bench import profile


@pytest.mark.parametrize("place", profile.PARTS)
def test_every_part_is_a_function_that_there_is(place):
    module, _, name = place.partition(":")

    assert callable(attrgetter(name)(import_module(module)))


def test_a_look_counts_for_the_innermost_part(monkeypatch):
    def outer():
        return inner()

    def inner():
        return profile.part_of(sys._getframe())

    here = f"{__name__}:{test_a_look_counts_for_the_innermost_part.__qualname__}.<locals>"
    monkeypatch.setitem(profile.PARTS, f"{here}.outer", "outer")
    assert outer() == "outer"
    monkeypatch.setitem(profile.PARTS, f"{here}.inner", "inner")
    assert outer() == "inner"


def test_a_look_outside_of_all_parts_is_the_rest(monkeypatch):
    monkeypatch.setattr(profile, "PARTS", {})

    assert profile.part_of(sys._getframe()) == profile.REST


def test_the_table_adds_up():
    lines = profile.table(Counter({"one": 3, "other": 1}), took_us=1000).splitlines()

    assert [line.split() for line in lines[2:]] == [
        ["|", "one", "|", "750", "|", "75%", "|"],
        ["|", "other", "|", "250", "|", "25%", "|"],
        ["|", "all", "|", "1000", "|", "100%", "|"],
    ]
