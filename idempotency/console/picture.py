"""A request as a picture: each attempt a lane, each phase a bar, and the pauses between them.

Work is drawn to scale and a long pause is not: it is a break, which says how long it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from idempotency.models import IdempotencyKey
from idempotency.watching.counts import what_of
from idempotency.watching.standing import said

WIDTH, LANE = 900.0, 34.0
LABEL = 150.0
"""How much of the width is left of the lanes, for their names."""
BREAK = 46.0
SHORTEST_BAR = 3.0
LEAST_ROOM = 200.0
"""What is left for the work, however many breaks there are: with more the picture is wider."""

LONGEST_DRAWN_PAUSE = timedelta(seconds=2)
"""A pause is drawn to scale up to this, or up to the time that was worked."""

WHO = {
    "claimed": "the client",
    "staged": "another request",
    "retried": "a retry",
    "taken_by_completer": "the completer",
    "taken_by_reaper": "the reaper",
    "reviewed": "a person",
}


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took from one time to another, or happened at one."""

    attempt: int
    began_at: datetime
    ended_at: datetime
    kind: str
    """`claim`, `phase`, `call`, `failure`."""
    title: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A span where it is drawn."""

    x: float
    y: float
    width: float
    kind: str
    title: str
    said: str
    has_room: bool
    """Whether its title fits into it."""

    @property
    def top(self) -> float:
        return self.y + 4

    @property
    def text_x(self) -> float:
        return self.x + 4

    @property
    def text_y(self) -> float:
        return self.y + 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """An attempt, and who made it."""

    y: float
    name: str
    who: str

    @property
    def text_y(self) -> float:
        return self.y + 12

    @property
    def line_y(self) -> float:
        return self.y + LANE - 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """A pause that is not drawn to scale."""

    x: float
    width: float
    said: str

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What the template draws."""

    lanes: Sequence[Lane]
    bars: Sequence[Bar]
    breaks: Sequence[Break]
    height: float
    began: str
    ended: str
    lasted: str
    width: float = WIDTH

    @property
    def is_wide(self) -> bool:
        """Whether it is scrolled, and not made to fit."""
        return self.width > WIDTH

    @property
    def foot(self) -> float:
        return self.height + 14


def picture_of(key: IdempotencyKey) -> Picture | None:
    """Draw a key's journal; None where it is empty, as a tombstone's is."""
    spans = list(spans_of(key.journal))
    if not spans:
        return None
    scale = Scale.of(spans)
    attempts = sorted({span.attempt for span in spans})
    tops = {attempt: number * LANE for number, attempt in enumerate(attempts)}
    # A clock that was set back in between has later entries begin before the first.
    began, ended = min(s.began_at for s in spans), max(s.ended_at for s in spans)
    return Picture(
        lanes=[
            Lane(y=tops[attempt], name=f"attempt {attempt}", who=_who(attempt, key.journal))
            for attempt in attempts
        ],
        bars=[_bar(span, scale, tops[span.attempt]) for span in spans],
        breaks=list(scale.breaks()),
        height=len(attempts) * LANE,
        began=f"{began:%Y-%m-%d %H:%M:%S} UTC",
        ended=f"{ended:%H:%M:%S} UTC",
        lasted=length_of(ended - began),
        width=scale.width,
    )


def spans_of(journal: Sequence[Mapping[str, Any]]) -> Iterator[Span]:
    """Yield what the entries tell of, in order. Those that were committed together have one time,
    and happened one after the other before it.
    """
    for place, entry in enumerate(journal):
        committed_at = datetime.fromisoformat(entry["at"])
        together = [
            later.get("ms", 0.0) for later in journal[place + 1 :] if later["at"] == entry["at"]
        ]
        ended_at = committed_at - timedelta(milliseconds=sum(together))
        began_at = ended_at - timedelta(milliseconds=entry.get("ms", 0.0))
        yield Span(
            attempt=int(entry["attempt"]),
            began_at=began_at,
            ended_at=ended_at,
            kind=_kind(entry),
            title=str(entry["event"]),
            said=" · ".join(_facts(entry, began_at)),
        )


def _kind(entry: Mapping[str, Any]) -> str:
    what = what_of(entry)
    return "call" if what == "phase" and entry.get("calls") else what


def _facts(entry: Mapping[str, Any], began_at: datetime) -> Iterator[str]:
    yield str(entry["event"])
    yield f"{began_at:%H:%M:%S.%f}"[:-3]
    if "phase" in entry:
        yield f"in {entry['phase']}"
    if "ms" in entry:
        yield f"{entry['ms']} ms"
    if "recovery_point" in entry:
        yield f"led to {entry['recovery_point']}"
    for call in entry.get("calls", ()):
        yield _said_of(call)
    if "error" in entry:
        yield str(entry["error"])


def _said_of(call: Mapping[str, Any]) -> str:
    if "status" not in call:
        return f"no answer {call.get('error', '')}".strip()
    answer = f"answer {call['status']} {call.get('request_id', '')}".strip()
    return f"{answer}, a replay" if call.get("replayed") else answer


def _who(attempt: int, journal: Sequence[Mapping[str, Any]]) -> str:
    taken = [e for e in journal if e["attempt"] == attempt and e["event"] in WHO]
    return WHO[taken[0]["event"]] if taken else ""


def length_of(lasted: timedelta) -> str:
    seconds = lasted.total_seconds()
    return said(seconds) if seconds >= 10 else f"{seconds * 1000:,.0f} ms"


@dataclass
class Scale:
    """Where a time lies: stretches that are drawn to scale, with breaks between them."""

    stretches: list[tuple[datetime, datetime]]
    per_second: float = 0.0
    width: float = WIDTH
    _begins: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, spans: Sequence[Span]) -> "Scale":
        stretches: list[tuple[datetime, datetime]] = []
        worked = sum((span.ended_at - span.began_at for span in spans), timedelta())
        longest = max(LONGEST_DRAWN_PAUSE, worked)
        for span in sorted(spans, key=lambda span: span.began_at):
            if stretches and span.began_at - stretches[-1][1] <= longest:
                begin, end = stretches[-1]
                stretches[-1] = (begin, max(end, span.ended_at))
            else:
                stretches.append((span.began_at, span.ended_at))
        return cls(stretches)

    def __post_init__(self) -> None:
        drawn = sum((end - begin).total_seconds() for begin, end in self.stretches)
        taken = LABEL + BREAK * (len(self.stretches) - 1) + SHORTEST_BAR
        room = max(WIDTH - taken, LEAST_ROOM)
        self.width = taken + room
        self.per_second = room / drawn if drawn else 0.0
        x = LABEL
        for begin, end in self.stretches:
            self._begins.append(x)
            x += (end - begin).total_seconds() * self.per_second + BREAK

    def x(self, at: datetime) -> float:
        for (begin, end), x in zip(self.stretches, self._begins, strict=True):
            if begin <= at <= end:
                return x + (at - begin).total_seconds() * self.per_second
        return LABEL

    def breaks(self) -> Iterator[Break]:
        for place, (begin, _) in enumerate(self.stretches[1:], start=1):
            pause = begin - self.stretches[place - 1][1]
            yield Break(x=self._begins[place] - BREAK, width=BREAK, said=length_of(pause))


LETTER = 6.5
"""About the width of a letter, in the drawing's units."""


def _bar(span: Span, scale: Scale, top: float) -> Bar:
    x = scale.x(span.began_at)
    width = max(scale.x(span.ended_at) - x, SHORTEST_BAR)
    return Bar(
        x=x,
        y=top,
        width=width,
        kind=span.kind,
        title=span.title,
        said=span.said,
        has_room=width > len(span.title) * LETTER,
    )
