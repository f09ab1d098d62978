"""How far a reader has to walk: a booking's way through the rooms, from the view to each phase.

`pytest -s` prints the walk. A room is a module of ours; a move is a call from one into another.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from idempotency.attempts import Attempt
from rides.operations import CreateRide
from rides.tests.test_budgets import send

ROOT = Path(__file__).parents[2]
HOUSES = ("idempotency", "rides")
# What listens to the signals, and what is around the view, is no part of the way through it.
BESIDE_THE_WAY = ("idempotency/watching/", "idempotency/http/request_ids.py")

MOST_MOVES = 157
MOST_ROOMS = 33
MOST_FRAMES = 6
"""From the attempt's entry to the author's first phase, both counted."""

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("riders")]


def room_of(frame: FrameType | None) -> str | None:
    """Return the module of ours that a frame is in, as a path; None for anybody else's."""
    if frame is None:
        return None
    file = Path(frame.f_code.co_filename)
    if not file.is_relative_to(ROOT):
        return None
    path = file.relative_to(ROOT)
    is_ours = path.parts[0] in HOUSES and not {"tests", "testing"} & {*path.parts}
    return str(path) if is_ours and not str(path).startswith(BESIDE_THE_WAY) else None


def room_around(frame: FrameType) -> str | None:
    """Return the room of the nearest caller that is ours."""
    caller = frame.f_back
    while caller is not None and room_of(caller) is None:
        caller = caller.f_back
    return room_of(caller)


@dataclass
class Walk:
    moves: list[tuple[str, str]] = field(default_factory=list)
    frames_to_the_phase: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{room:<40} {name}" for room, name in self.moves]
        lines.append(f"{len(self.moves)} moves through {len(self.rooms)} rooms")
        lines.append(" > ".join(self.frames_to_the_phase))
        return "\n".join(lines)

    @property
    def rooms(self) -> set[str]:
        return {room for room, _ in self.moves}

    def notice(self, frame: FrameType, event: str, _: Any) -> None:
        room = room_of(frame)
        if event != "call" or room is None:
            return
        if room != room_around(frame):
            self.moves.append((room, frame.f_code.co_qualname))
        if frame.f_code is CreateRide.create_ride.method.__code__:
            self.frames_to_the_phase = frames_since(Attempt.start.__code__, frame)


def frames_since(entry: Any, frame: FrameType | None) -> list[str]:
    names: list[str] = []
    while frame is not None:
        if room_of(frame):
            names.append(frame.f_code.co_qualname)
        if frame.f_code is entry:
            return names[::-1]
        frame = frame.f_back
    return []


@contextmanager
def walking() -> Iterator[Walk]:
    walk = Walk()
    sys.setprofile(walk.notice)
    try:
        yield walk
    finally:
        sys.setprofile(None)


def test_a_bookings_walk_through_the_rooms_does_not_get_longer():
    send()  # what is imported and cached once is no part of the walk
    with walking() as walk:
        answer = send("another-key-of-twenty-characters")

    assert answer.status_code == 201
    sys.stdout.write(f"\n{walk}\n")
    assert 2 <= len(walk.frames_to_the_phase) <= MOST_FRAMES
    assert len(walk.moves) <= MOST_MOVES
    assert len(walk.rooms) <= MOST_ROOMS
