"""What grows with the number of finished keys: next to nothing should.

    python -m bench.growth [--sizes 10000 1000000 10000000]

It makes a database of its own in the embedded PostgreSQL, fills it to each size in turn, measures
the same at each, and prints a table with the growth from the first size to the last. It ends with 1
where a figure grew by more than a fifth. An index that is a level higher costs a page.
"""

import os
import sys
from argparse import ArgumentParser

import django
import requests

from bench.surroundings import bench_database, running_api
from sandbox.stripe.process import running_stand_in

SIZES = (10_000, 1_000_000, 10_000_000)
MOST_GROWTH = 1.2


def main() -> None:
    sizes = _options()
    with running_stand_in() as stand_in, bench_database(stand_in) as environment:
        os.environ.update(environment, DJANGO_SETTINGS_MODULE="rocketrides.settings")
        django.setup()
        columns = _columns(sizes)
    _print_table(sizes, columns)
    if grown := _grown(columns):
        sys.exit(f"grew by more than a fifth: {', '.join(grown)}")


def _columns(sizes: list[int]) -> list[dict[str, float]]:
    from django.core.management import call_command

    from bench import figures, filling

    call_command("migrate", verbosity=0)
    call_command("seed", stdout=sys.stderr)
    columns = []
    with running_api(dict(os.environ)) as api:
        figures.book(api, requests.Session())
        for size in sizes:
            filling.fill_up_to(size, overdue=figures.OVERDUE)
            columns.append(figures.measure(api))
            print(f"measured with {size:,} keys", file=sys.stderr)
    return columns


def _growth(columns: list[dict[str, float]], figure: str) -> float:
    return columns[-1][figure] / columns[0][figure]


def _grown(columns: list[dict[str, float]]) -> list[str]:
    from bench.figures import NOT_JUDGED

    return [
        figure
        for figure in columns[0]
        if figure not in NOT_JUDGED and _growth(columns, figure) > MOST_GROWTH
    ]


def _print_table(sizes: list[int], columns: list[dict[str, float]]) -> None:
    print("| median, ms | " + " | ".join(f"{size:,} keys" for size in sizes) + " | growth |")
    print("| --- |" + " ---: |" * (len(sizes) + 1))
    for figure in columns[0]:
        cells = " | ".join(f"{column[figure]:.2f}" for column in columns)
        print(f"| {figure} | {cells} | {_growth(columns, figure):.2f} |")


def _options() -> list[int]:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    return sorted(parser.parse_args().sizes)


if __name__ == "__main__":
    main()
