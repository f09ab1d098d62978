"""How fast it is, beside the physical limit and the alternatives, in one run.

    python -m bench [--full] [--only ours,floor] [--clients 8,32] [--latencies 0,300]
                    [--seconds 2] [--rounds 3]

Prints one table and, where nothing was left out, writes it to `bench/results/`.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from bench import machine
from bench.contestants import CONTESTANTS, Contestant
from bench.measuring import Cell, count_statements, measure_rounds
from bench.report import Line, table
from bench.world import World, world


def main() -> None:
    options = _options()
    contestants = [each for each in CONTESTANTS if each.name in options.only]
    cells = [Cell(clients, latency) for latency in options.latencies for clients in options.clients]
    with world() as surroundings:
        for contestant in contestants:
            contestant.server(surroundings)
        lines = _measure(surroundings, contestants, cells, options)
        print("\n".join(machine.described()), table(lines), sep="\n\n")


def _measure(
    world: World, contestants: Sequence[Contestant], cells: Sequence[Cell], options: Namespace
) -> list[Line]:
    runs = {
        cell: measure_rounds(
            world, contestants, cell, rounds=options.rounds, seconds=options.seconds
        )
        for cell in cells
    }
    world.set_latency(0)
    lines = []
    for contestant in contestants:
        statements, commits = count_statements(world, contestant)
        lines += [
            Line(contestant, cell, runs[cell][contestant.name], statements, commits)
            for cell in cells
            if contestant.name in runs[cell]
        ]
    return lines


def _options() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    names = [each.name for each in CONTESTANTS]
    parser.add_argument("--only", type=lambda text: text.split(","), default=names)
    parser.add_argument("--clients", type=_numbers, default=[8, 32])
    parser.add_argument("--latencies", type=_numbers, default=[0, 300])
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    main()
