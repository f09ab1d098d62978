"""Charts as numbers that a template writes as SVG: stacked bars, or lines, over steps of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WIDTH, HEIGHT = 600, 120
"""Of the drawing, in SVG's units."""

MOST_SERIES = 6
"""More than a reader can tell apart; the smallest are left out, and the chart says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One series: its bars, or its line."""

    name: str
    number: int
    path: str
    total: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is told under the pointer: a step of time and its values."""

    x: float
    width: float
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What the template draws."""

    title: str
    unit: str
    shapes: Sequence[Shape]
    moments: Sequence[Moment]
    highest: str
    left_out: int
    began: str
    ended: str
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def is_empty(self) -> bool:
        return not any(shape.total for shape in self.shapes)


Values = Mapping[str, Mapping[datetime, float]]
"""By series, and by the step of time."""


def bars(
    title: str, values: Values, steps: Sequence[datetime], *, step: timedelta, unit: str
) -> Chart:
    """Stack the series on each other, the largest at the bottom."""
    chosen = _largest(values)
    highest = max((sum(values[name].get(at, 0.0) for name in chosen) for at in steps), default=0.0)
    below = dict.fromkeys(steps, 0.0)
    shapes = []
    for number, name in enumerate(chosen):
        path = []
        for place, at in enumerate(steps):
            if value := values[name].get(at, 0.0):
                x, width = _place(place, len(steps))
                top, bottom = _y(below[at] + value, highest), _y(below[at], highest)
                path.append(f"M{x:.1f} {bottom:.1f}h{width:.1f}V{top:.1f}h-{width:.1f}z")
                below[at] += value
        total = sum(values[name].values())
        shapes.append(Shape(name=name, number=number, path="".join(path), total=total))
    return _chart(title, unit, shapes, values, steps, step, highest)


def lines(
    title: str, values: Values, steps: Sequence[datetime], *, step: timedelta, unit: str
) -> Chart:
    """Draw each series as a line, which is broken where nothing was counted."""
    chosen = _largest(values)
    highest = max((value for name in chosen for value in values[name].values()), default=0.0)
    shapes = []
    for number, name in enumerate(chosen):
        path, is_broken = [], True
        for place, at in enumerate(steps):
            value = values[name].get(at)
            if value is None:
                is_broken = True
                continue
            x, width = _place(place, len(steps))
            middle = x + width / 2
            # A single point is drawn as well: a line of no length, with round ends.
            drawn = f"M{middle:.1f} {_y(value, highest):.1f}h0" if is_broken else ""
            path.append(drawn or f"L{middle:.1f} {_y(value, highest):.1f}")
            is_broken = False
        total = max(values[name].values(), default=0.0)
        shapes.append(Shape(name=name, number=number, path="".join(path), total=total))
    return _chart(title, unit, shapes, values, steps, step, highest)


def _chart(
    title: str,
    unit: str,
    shapes: Sequence[Shape],
    values: Values,
    steps: Sequence[datetime],
    step: timedelta,
    highest: float,
) -> Chart:
    return Chart(
        title=title,
        unit=unit,
        shapes=shapes,
        moments=_moments(values, [shape.name for shape in shapes], steps, step, unit),
        highest=_written(highest, unit),
        left_out=len(values) - len(shapes),
        began=_when(steps[0]),
        ended=_when(steps[-1] + step),
    )


def _largest(values: Values) -> list[str]:
    return sorted(values, key=lambda name: (-sum(values[name].values()), name))[:MOST_SERIES]


def _place(place: int, count: int) -> tuple[float, float]:
    """Return where the bar of a step begins, and how wide it is."""
    each = WIDTH / max(count, 1)
    return place * each, each * 0.8


def _y(value: float, highest: float) -> float:
    return HEIGHT - (value / highest * HEIGHT if highest else 0.0)


def _moments(
    values: Values,
    chosen: Sequence[str],
    steps: Sequence[datetime],
    step: timedelta,
    unit: str,
) -> list[Moment]:
    moments = []
    each = WIDTH / max(len(steps), 1)
    for place, at in enumerate(steps):
        told = [
            f"{name}: {_written(values[name][at], unit)}" for name in chosen if at in values[name]
        ]
        when = f"{at:%a %H:%M} to {at + step:%H:%M} UTC"
        said = "\n".join([when, *(told or ["nothing"])])
        moments.append(Moment(x=place * each, width=each, said=said))
    return moments


def _when(at: datetime) -> str:
    return f"{at:%a %H:%M}"


def _written(value: float, unit: str) -> str:
    number = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return f"{number} {unit}".strip()
