"""Write the reference from the code: `python -m docs.reference.write`.

From docstrings what an adopter imports, from `conf.py` the settings, from the parsers the commands,
and from their source the checks. The app is set up alone here, without the service around it.
"""

import ast
import inspect
import re
import uuid
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import django
from django.conf import settings

from docs.reference.describing import (
    PARTS,
    ROOT,
    docstring_of,
    entry,
    noted_attributes,
    noted_values,
)

FOLDER = Path(__file__).parent


def set_up() -> None:
    """Have Django know the app and nothing else. No database is asked."""
    settings.configure(
        DEBUG=True,  # or what is for tests could not be loaded
        USE_TZ=True,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "idempotency"],
        IDEMPOTENCY={"FOREIGN_KEY_NAMESPACE": uuid.UUID(int=0)},
    )
    django.setup()


# The pages.

PUBLIC = {
    "Operations": ["Operation", "STARTED", "FINISHED", "READ_COMMITTED", "SERIALIZABLE"],
    "Phases": ["atomic_phase", "foreign_phase"],
    "What a phase returns": ["RecoveryPoint", "Response", "NoOp", "Undo", "Pending"],
    "What a phase raises": ["Indeterminate", "NeedsReview", "ReviewRefused"],
    "What a call raises": ["IdempotencyError"],
    "What a phase stages": ["stage_job", "stage_operation"],
    "News from outside": ["complete_soon"],
    "For whoever watches": ["note_call"],
    "Views": ["idempotent"],
    "Jobs": ["job_limit"],
}
OF_AN_AUTHOR = ["as_view", "call", "foreign_key", "foreign_key_at"]
OVERRIDDEN = ["may_go_on", "clean_up", "cancelled", "record_pending", "record_review"]
OF_THE_CLOCK = [
    "let_time_pass",
    "let_key_age",
    "let_deliveries_age",
    "until_anybody_may_take_over",
]
OF_A_FOREIGN_PHASE = ["commit", "rejected", "lookup", "follow", "withdraw", "adopt", "undo"]


def python() -> str:
    import idempotency
    from idempotency import models, operations, phases, transactions

    known = noted_values(models) | noted_values(transactions)
    parts = [
        "# What an operation is written with\n\n"
        "The names of `idempotency`, from their docstrings. How they are used: "
        "[adopting](../adopting.md)."
    ]
    for title, names in PUBLIC.items():
        parts.append(f"# {title}")
        for name in names:
            parts.append(entry(name, getattr(idempotency, name), known=known))
            if name == "Operation":
                parts += _members(name, operations.Operation, OF_AN_AUTHOR + OVERRIDDEN)
                parts.append(_attributes(operations.Operation))
            if name == "foreign_phase":
                parts += _members(name, phases.ForeignPhase, OF_A_FOREIGN_PHASE)
            if name == "Response":
                parts += _members(name, phases.Response, ["error"])
    return "\n\n".join(_one_title(parts))


def _one_title(parts: list[str]) -> Iterator[str]:
    """Keep the page's title alone at its level."""
    first, *rest = parts
    yield first
    for part in rest:
        yield re.sub(r"^(#+ )", r"#\1", part)


def _members(name: str, owner: type, members: list[str]) -> Iterator[str]:
    for member in members:
        found = inspect.getattr_static(owner, member)
        if isinstance(found, property):
            yield f"### `{name}.{member}`\n\n{docstring_of(found)}"
        else:
            yield entry(f"{name}.{member}", getattr(owner, member), level=3, known={})


def _attributes(owner: type) -> str:
    said = noted_attributes(owner)
    rows = "\n".join(f"| `{name}` | {text} |" for name, text in said.items())
    return f"### Attributes of `{owner.__name__}`\n\n| attribute | |\n| --- | --- |\n{rows}"


def testing() -> str:
    import idempotency.testing as package
    from idempotency.testing import clock, pytest_plugin

    names = sorted(package.__all__, key=str.lower)
    invariants = "\n".join(f"- `{each.__name__}`" for each in package.INVARIANTS)
    known = {
        "INVARIANTS": f"What holds of any operation, checked after each trial:\n\n{invariants}"
    }
    parts = [
        "# What an operation is tested with\n\n"
        "The names of `idempotency.testing`. How they are used: [testing](../testing.md)."
    ]
    parts += [entry(name, getattr(package, name), known=known) for name in names]
    parts.append("## Time, in `idempotency.testing.clock`")
    for name in (
        "let_time_pass",
        "let_key_age",
        "let_deliveries_age",
        "until_anybody_may_take_over",
    ):
        parts.append(entry(name, getattr(clock, name), level=3, known={}))
    parts.append("## pytest's fixture `crash_everywhere`\n\n" + str(inspect.getdoc(pytest_plugin)))
    return "\n\n".join(parts)


def errors() -> str:
    from idempotency import exceptions
    from idempotency.http import refusals

    told = [
        f"| `{error.code}` | {error.status} | {'yes' if error.retryable else 'no'} "
        f"| `{error.__name__}`: {_first(error)} |"
        for module in (refusals, exceptions)
        for error in _errors_of(module, exceptions.IdempotencyError)
    ]
    parts = [
        """# Errors

A client gets one as `{"error": …, "code": …, "retryable": …}`, with its status. Code and status
never change. `retryable` says that the same request with the same key can end otherwise.""",
        _table("What a client gets", "| code | status | retryable | raised as |", told),
        """The reference service has others besides, such as 429 `too_many_requests` and 503
`overloaded`: [what a client does with each](../clients.md#what-an-answer-means).""",
    ]
    for title, errors in (
        ("An operation's code broke a rule", _errors_of(exceptions, exceptions.OperationMisuse)),
        ("A job did not end well", _errors_of(exceptions, exceptions.JobError)),
        (
            "Others",
            [exceptions.ReviewRefused, exceptions.JobOverLimit, exceptions.BrokerAway],
        ),
    ):
        rows = [f"| `{error.__name__}` | {_first(error)} |" for error in errors]
        parts.append(_table(title, "| class | |", rows))
    parts.append("Source: [`idempotency/exceptions.py`](../../idempotency/exceptions.py)")
    return "\n\n".join(parts)


def _table(title: str, head: str, rows: Iterable[str]) -> str:
    columns = "| --- " * (head.count("|") - 1) + "|"
    return "\n".join([f"## {title}\n", head, columns, *rows])


def _errors_of(module: ModuleType, base: type) -> list[Any]:
    found = [each for each in vars(module).values() if isinstance(each, type)]
    return [each for each in found if issubclass(each, base) and each.__module__ == module.__name__]


def _first(thing: Any) -> str:
    """Return the paragraphs of a docstring before its arguments, as one line."""
    return " ".join(PARTS.split(inspect.getdoc(thing) or "")[0].split())


def the_settings() -> str:
    from idempotency.conf import Settings

    said = noted_attributes(Settings)
    rows = []
    for each in fields(Settings):
        assert each.default is not MISSING
        rows.append(f"| `{each.name.upper()}` | {_written(each.default)} | {said[each.name]} |")
    said_first = """# Settings

Of the dictionary `IDEMPOTENCY` in Django's settings. Times are `timedelta`s. When to raise and when
to lower one: [operating](../operating.md#settings). A name that is not here is refused."""
    source = "Source: [`idempotency/conf.py`](../../idempotency/conf.py)"
    table = _table("All of them", "| setting | default | |", rows)
    return "\n\n".join([said_first, table, source])


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"`{each}`" for each in value) or "none"
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g} s" if value < timedelta(hours=1) else _in_hours(value)
    return f"`{value}`" if value is not None else "none"


def _in_hours(time: timedelta) -> str:
    hours = time // timedelta(hours=1)
    return f"{hours} h" if hours <= 72 else f"{time.days} days"


def commands() -> str:
    from django.core.management import load_command_class
    from django.core.management.base import CommandParser

    parts = ["# Commands\n\nOf `manage.py`. Django's own options are not repeated here."]
    for path in sorted((ROOT / "idempotency/management/commands").glob("[a-z]*.py")):
        command = load_command_class("idempotency", path.stem)
        plain = CommandParser(prog=f"manage.py {path.stem}", add_help=False)
        command.add_arguments(plain)
        where = path.relative_to(ROOT)
        parts.append(f"## `{path.stem}`\n\n{command.help}\n\n{_parser(plain)}")
        parts.append(f"Source: [`{where}`](../../{where})")
    return "\n\n".join(parts)


def _parser(parser: ArgumentParser) -> str:
    lines, actions = [], []
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            for name, inner in action.choices.items():
                options = _parser(inner)
                actions.append(
                    f"**`{name}`**: {helps[name]}" + (f"\n\n{options}" if options else "")
                )
        elif "--help" not in action.option_strings:
            name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            lines.append(f"- `{name}`: {_help(action)}")
    return "\n\n".join(filter(None, ["\n".join(lines), *actions]))


def _help(action: Any) -> str:
    if action.dest == "reviewer":  # its default is whoever runs it, here too
        return "Who decides (default: the user of the system)."
    return str(action.help or "").replace("%(default)s", str(action.default))


def checks() -> str:
    rows = {}
    for path in sorted((ROOT / "idempotency/checks").glob("[a-z]*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _is_message(node):
                options = {k.arg: k.value for k in node.keywords}
                number = _text(options["id"])
                rows[number] = f"| `{number}` | {_text(node.args[0])} | {_text(options['hint'])} |"
    said_first = """# Checks

Of `manage.py check`; those that ask the database, of `check --database default`; those of a deploy,
of `check --deploy`. `E` is for what breaks a promise, `W` for what costs something, `I` for what
can be tidied."""
    in_order = [rows[number] for number in sorted(rows)]
    return said_first + "\n\n" + _table("All of them", "| id | says | hint |", in_order)


def _is_message(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and any(k.arg == "id" for k in node.keywords)


def _text(node: ast.expr) -> str:
    """Return a literal's words, with an ellipsis for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return re.sub(r"…(…)+", "…", "".join(map(_text, node.values)))
    return _escaped(str(node.value)) if isinstance(node, ast.Constant) else "…"


def _escaped(words: str) -> str:
    """Words that are no Markdown."""
    return re.sub(r"([<|*])", r"\\\1", words)


PAGES = {
    "python.md": python,
    "testing.md": testing,
    "errors.md": errors,
    "settings.md": the_settings,
    "commands.md": commands,
    "checks.md": checks,
}


if __name__ == "__main__":
    set_up()
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page() + "\n")
