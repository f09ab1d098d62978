"""What a statement that changes rows may not have where another server has them (Citus): judged of
every statement that a test sends, those that Django writes among them.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

CONDITIONAL = re.compile(r"\bCOALESCE\s*\(|\bCASE\b", re.IGNORECASE)
TIME = re.compile(r"\b(STATEMENT_TIMESTAMP|CLOCK_TIMESTAMP|NOW)\s*\(", re.IGNORECASE)


def inside(text: str, begin: int) -> str:
    """What stands between the bracket that opens at a place and the one that closes it."""
    depth = 0
    for place in range(text.index("(", begin), len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return text[begin:place]
    return text[begin:]


def conditionals(text: str) -> Iterator[str]:
    for found in CONDITIONAL.finditer(text):
        if found[0].upper().startswith("COALESCE"):
            yield inside(text, found.start())
        else:
            yield text[found.start() :].partition(" END")[0]


def has_a_time_in_a_condition(sql: str) -> bool:
    """Say whether an UPDATE would be refused, since it is reached in some rows only."""
    if not (sql.lstrip()[:6].upper() == "UPDATE" and TIME.search(sql)):
        return False
    return any(TIME.search(conditional) for conditional in conditionals(sql))


def judge(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    """Execute a statement, as one of Django's `execute_wrappers`.

    Raises: AssertionError, where no cell on Citus would take it.
    """
    assert not has_a_time_in_a_condition(sql), f"no cell on Citus takes {sql}"
    return execute(sql, params, many, context)
