"""The profile: each look counts once, for the innermost part, and the table adds up."""

import sys
from collections import Counter

from bench import parts
from bench.profile import Profile, table


def test_a_look_counts_for_the_innermost_part(monkeypatch):
    def outer():
        return inner()

    def inner():
        return parts.part_of(sys._getframe())

    monkeypatch.setitem(parts.PARTS, outer.__code__, "outer")
    assert outer() == "outer"
    monkeypatch.setitem(parts.PARTS, inner.__code__, "inner")
    assert outer() == "inner"


def test_a_look_outside_of_all_parts_is_the_rest(monkeypatch):
    monkeypatch.setattr(parts, "PARTS", {})

    assert parts.part_of(sys._getframe()) == parts.REST


def test_a_part_is_found_beneath_the_decorators_of_its_functions():
    named = {part for part in parts.FUNCTIONS if part in parts.PARTS.values()}

    assert named == set(parts.FUNCTIONS)


def test_the_table_of_the_profile_adds_up():
    ours = Profile(Counter({"key": 3, "rest": 1}), rides=1000, seconds=1.0)
    unsafe = Profile(Counter({"rest": 4}), rides=1000, seconds=0.3)

    rows = [line.split() for line in table(ours, unsafe).splitlines()[2:]]

    assert rows == [
        ["|", "key", "|", "750", "|", "0", "|", "+750", "|"],
        ["|", "rest", "|", "250", "|", "300", "|", "-50", "|"],
        ["|", "all", "|", "1000", "|", "300", "|", "+700", "|"],
    ]
