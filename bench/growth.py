"""What grows with the number of finished keys: next to nothing should.

    python -m bench.growth [--sizes 10000 1000000 10000000] [--plans FILE]

It makes a database of its own in the embedded PostgreSQL, fills it to each size in turn, measures
the same at each, and prints a table with the growth from the first size to the last. It ends with 1
where a figure grew by more than a fifth. An index that is a level higher costs a page. A file gets
PostgreSQL's plans of the overview's statements at the last size.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import requests

from bench.processes import (
    bench_database,
    end_in_order_when_told,
    migrate,
    running_api,
    set_up_django,
)
from bench.world import seed_riders
from sandbox.stripe.process import running_stand_in

SIZES = (10_000, 1_000_000, 10_000_000)
MOST_GROWTH = 1.2

Column = dict[str, float]


def main() -> None:
    options = _options()
    sizes = sorted(options.sizes)
    end_in_order_when_told()
    with running_stand_in() as stand_in, bench_database(stand_in) as environment:
        migrate(environment)
        seed_riders(environment["DATABASE_URL"], stand_in)
        set_up_django(environment)
        from bench import figures

        columns = []
        with running_api(environment) as api:
            figures.book(api, requests.Session())
            for size in sizes:
                columns.append(figures.measure(api, size))
                print(f"measured with {size:,} keys", file=sys.stderr)
        if options.plans:
            options.plans.write_text(figures.plans_of_the_overview(), encoding="utf-8")
    _print_table(sizes, columns)
    grown = [figure for figure in columns[0] if _growth(columns, figure) > MOST_GROWTH]
    if grown := [figure for figure in grown if figure not in figures.NOT_JUDGED]:
        sys.exit(f"grew by more than a fifth: {', '.join(grown)}")


def _growth(columns: list[Column], figure: str) -> float:
    return columns[-1][figure] / columns[0][figure]


def _print_table(sizes: list[int], columns: list[Column]) -> None:
    print("| median, ms | " + " | ".join(f"{size:,} keys" for size in sizes) + " | growth |")
    print("| --- |" + " ---: |" * (len(sizes) + 1))
    for figure in columns[0]:
        cells = " | ".join(f"{column[figure]:.2f}" for column in columns)
        print(f"| {figure} | {cells} | {_growth(columns, figure):.2f} |")


def _options() -> Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--plans", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
