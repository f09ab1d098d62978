"""A world for the benchmark's tests, and a contestant's server in it or the reason to skip it."""

from collections.abc import Iterator

import pytest

from bench.contestants import CONTESTANTS, Contestant
from bench.world import Missing, Server, World
from bench.world import world as whole_world


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with whole_world() as bench:
        yield bench


def contestant(name: str) -> Contestant:
    return next(each for each in CONTESTANTS if each.name == name)


def server_of(name: str, world: World) -> Server:
    try:
        return contestant(name).server(world)
    except Missing as reason:
        pytest.skip(str(reason))
