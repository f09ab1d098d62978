"""What an adopter would have instead: the ride as a plain view, with no promise at all.

The server, the settings, the door, the threads and the pool are those of `ours`; the database is
one of its own, so that neither's tables grow by the other's rides.
"""

from contextlib import AbstractContextManager

from bench.contestants.http import OverHTTP
from bench.contestants.service import service
from bench.world import Server, World


def unsafe_api(world: World) -> AbstractContextManager[Server]:
    return service(world, "unsafe")


UNSAFE = OverHTTP(
    name="unsafe",
    title="unsafe: a plain view by the ORM",
    starting=unsafe_api,
    path="/unsafe/rides",
)
