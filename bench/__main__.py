"""What safety costs, and how fast it is beside the alternatives and the physical limit, in one run.

    python -m bench [--full] [--only ours,floor] [--clients 8,32] [--latencies 0,300]
                    [--seconds 2] [--rounds 3] [--overload 6] [--endurance 100000]

Prints its tables and, where nothing was chosen or left out, writes them to `bench/results/`.
"""

import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import product

from bench import machine
from bench.contestants import CONTESTANTS, Contestant
from bench.contestants.ours import OURS
from bench.measuring import Cell, Growth, count_statements, measure_growth, measure_rounds
from bench.overload import Overload, measure_overload, overload_table
from bench.processes import end_in_order_when_told
from bench.ratios import price_of_safety, ratios
from bench.report import Line, others, table
from bench.targets import targets
from bench.world import Missing, World, world
from rocketrides.environment import BASE_DIR

RESULTS = BASE_DIR / "bench" / "results"

ALL = [each.name for each in CONTESTANTS]
SHORT = {
    "only": ALL,
    "clients": [8, 32],
    "latencies": [0, 300],
    "seconds": 2,
    "rounds": 3,
    "endurance": 0,
    "overload": 6,
}
FULL = {
    "only": ALL,
    "clients": [1, 8, 32, 256],
    "latencies": [0, 50, 300],
    "seconds": 5,
    "rounds": 3,
    "endurance": 100_000,
    "overload": 20,
}


def main() -> None:
    options = _options()
    end_in_order_when_told()
    with world() as bench:
        contestants, missing = _assembled(bench, options.only)
        if not contestants:
            raise SystemExit("\n".join(missing))
        lines = list(_lines(bench, contestants, options))
        growth = _growth(bench, options.endurance)
        overload = _overload(bench, contestants, options.overload)
        told = "\n".join([*machine.described(), others(lines), *missing])
    sections = {
        "What safety costs": price_of_safety(lines),
        "Beside DBOS, the floor, and each other": ratios(lines),
        "The targets": targets(lines, growth, overload),
        "All that was measured": table(lines),
        **({"More than it can take": overload_table(overload)} if overload else {}),
    }
    report = "\n\n".join([told, *(f"## {name}\n\n{text}" for name, text in sections.items())])
    print(report)
    if options.is_whole:
        _keep(report)


def _assembled(world: World, names: Sequence[str]) -> tuple[list[Contestant], list[str]]:
    """Those that can be measured here, started, and a loud word about each of the others."""
    ready, missing = [], []
    for contestant in (each for each in CONTESTANTS if each.name in names):
        try:
            _start(world, contestant)
            ready.append(contestant)
        except Missing as reason:
            missing.append(f"NOT MEASURED: {contestant.title}: {reason}")
    return ready, missing


def _start(world: World, contestant: Contestant) -> None:
    if not shutil.which(contestant.load_generator):
        raise Missing(f"there is no {contestant.load_generator}; `make bench` installs it")
    contestant.server(world)


def _lines(world: World, contestants: Sequence[Contestant], options: Namespace) -> Iterator[Line]:
    rounds = {"rounds": options.rounds, "seconds": options.seconds}
    cells = [Cell(*each) for each in product(options.latencies, options.clients)]
    runs = {cell: measure_rounds(world, contestants, cell, **rounds) for cell in cells}
    world.set_latency(0)
    counted = {each.name: count_statements(world, each) for each in contestants}
    for cell, contestant in product(cells, contestants):
        if contestant.name in runs[cell]:
            yield Line(contestant, cell, runs[cell][contestant.name], *counted[contestant.name])


def _growth(world: World, rides: int) -> Growth | None:
    return measure_growth(world, OURS, rides) if rides else None


def _overload(world: World, contestants: Sequence[Contestant], seconds: int) -> Overload | None:
    return measure_overload(world, seconds) if seconds and OURS in contestants else None


def _keep(report: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{machine.commit()}.md"
    path.write_text(f"# `{machine.command()}`\n\n{report}\n")
    print(f"\nwritten to {path.relative_to(BASE_DIR)}")


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the whole matrix, half an hour")
    parser.add_argument("--only", type=_words, help="contestants, by their short names")
    parser.add_argument("--clients", type=_numbers, help="at once")
    parser.add_argument("--latencies", type=_numbers, help="of Stripe, in milliseconds")
    parser.add_argument("--seconds", type=int, help="of a run")
    parser.add_argument("--rounds", type=int, help="of which the medians are taken")
    parser.add_argument("--overload", type=int, help="seconds of three times what it can take")
    parser.add_argument("--endurance", type=int, help="rides over which the memory is compared")
    options = parser.parse_args()
    chosen = {name: value for name, value in vars(options).items() if value is not None}
    form = FULL if options.full else SHORT
    return Namespace(**{**form, **chosen}, is_whole=set(chosen) == {"full"})


def _words(text: str) -> list[str]:
    words = text.split(",")
    unknown = set(words) - set(ALL)
    if unknown:
        raise SystemExit(f"There is no contestant {', '.join(unknown)}")
    return words


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    main()
