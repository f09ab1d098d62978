"""What a forked process does with its parent's connections to the database: nothing.

Two processes on one connection read each other's answers. And a child that closes it in good order
tells the server to end the parent's session. Celery's pool of processes forks, as do some servers.
"""

import contextlib
import os
from typing import Any

from django.db import connections

_left_to_the_parent: list[Any] = []
"""Kept, so that no finalizer of the driver's or a pool's ever speaks for the parent."""


def leave_connections_to_the_parent() -> None:
    """In a child: the next statement opens a connection of the child's own."""
    for own in connections.all(initialized_only=True):
        raw, own.connection = own.connection, None
        if raw is None:
            continue
        own.in_atomic_block = False  # the parent's transaction; the rest, connecting resets
        _left_to_the_parent.append(raw)
        with contextlib.suppress(Exception):  # it was closed, and is no socket any more
            _let_go_of_socket(raw.fileno())
        # Django's own pool, which psycopg 3 has, by alias and for all threads.
        _left_to_the_parent.append(getattr(own, "_connection_pools", {}).pop(own.alias, None))


def _let_go_of_socket(descriptor: int) -> None:
    """Or the server would not notice the parent's death, since the child has the socket too. The
    number stays taken: the driver may yet write to it.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, descriptor, inheritable=False)
    os.close(nothing)
