"""How a name, its arguments and its docstring are written as Markdown."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parent.parent.parent

PARTS = re.compile(r"^(Args|Returns|Raises|Source):", re.MULTILINE)
ARGUMENT = re.compile(r"^    (\w[\w, *]*): ", re.MULTILINE)
QUALIFIED = re.compile(r"(?:\w+\.)+(\w+)")


def docstring_of(thing: Any) -> str:
    """Return a docstring as Markdown: its arguments are a list, its other parts have names."""
    text = inspect.getdoc(thing) or ""
    head, *rest = PARTS.split(text)
    parts = [head.strip()]
    for name, content in zip(rest[::2], rest[1::2], strict=True):
        if name == "Args":
            parts += _arguments(content)
        else:
            parts.append(f"**{name}:** {content.strip()}")
    return "\n\n".join(parts)


def _arguments(content: str) -> Iterator[str]:
    """Yield the list of the arguments, and the paragraphs behind it."""
    listed, _, after = content.partition("\n\n")
    items = ARGUMENT.split(listed)[1:]
    pairs = zip(items[::2], items[1::2], strict=True)
    yield "\n".join(f"- `{names}`: {' '.join(text.split())}" for names, text in pairs)
    if after.strip():
        yield after.strip()


def noted_values(module: ModuleType) -> dict[str, str]:
    """Return the docstrings that stand below the values of a module or a class in it."""
    return _noted(ast.parse(inspect.getsource(module)).body)


def _noted(body: list[ast.stmt]) -> dict[str, str]:
    found = {}
    for statement, after in pairwise(body):
        target = getattr(statement, "target", None) or next(
            iter(getattr(statement, "targets", [])), None
        )
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(target, ast.Name) and is_text:
            found[target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return found


def noted_attributes(owner: type) -> dict[str, str]:
    [definition] = ast.parse(inspect.getsource(owner)).body
    assert isinstance(definition, ast.ClassDef)
    return _noted(definition.body)


def signature_of(name: str, thing: Callable[..., Any]) -> str:
    """Return it as a definition, with types by their own names."""
    parameters = list(inspect.signature(thing).parameters.values())
    if parameters and parameters[0].name == "self":
        del parameters[0]
    shown = [str(parameter.replace(default=_default(parameter))) for parameter in parameters]
    by_name = [n for n, each in enumerate(parameters) if each.kind is each.KEYWORD_ONLY]
    if by_name and not any(each.kind is each.VAR_POSITIONAL for each in parameters):
        shown.insert(by_name[0], "*")
    result = inspect.signature(thing).return_annotation
    is_said = result is not inspect.Signature.empty and not isinstance(thing, type)
    returned = f" -> {inspect.formatannotation(result)}" if is_said else ""
    line = _plain(f"{name}({', '.join(shown)}){returned}")
    broken = "".join(f"    {each},\n" for each in map(_plain, shown))
    return line if len(line) <= 90 else f"{name}(\n{broken}){_plain(returned)}"


def _plain(signature: str) -> str:
    """Have types by their own names: neither their modules nor quotes."""
    return re.sub(r"'(\w+(?:\[\w+\])?)'|~", r"\1", QUALIFIED.sub(r"\1", signature))


class _Shown:
    """A default as it is written, where its value says little."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _default(parameter: inspect.Parameter) -> Any:
    if parameter.default is parameter.empty:
        return parameter.empty
    if isinstance(parameter.default, Enum):
        return _Shown(f"{type(parameter.default).__name__}.{parameter.default.name}")
    if inspect.isfunction(parameter.default):
        name = parameter.default.__name__
        return _Shown("..." if name == "<lambda>" else name)
    if isinstance(parameter.default, type):
        return _Shown(parameter.default.__name__)
    return _Shown("...") if "<factory>" in repr(parameter.default) else parameter.default


def entry(name: str, thing: Any, *, level: int = 2, known: dict[str, str]) -> str:
    """Return the section of one public name."""
    lines = [f"{'#' * level} `{name}`"]
    if isinstance(thing, type) and issubclass(thing, Enum):
        members = "\n".join(f"- `{each.name}`: {each.value}" for each in thing)
        lines += [docstring_of(thing), members]
    elif callable(thing):
        if not (isinstance(thing, type) and issubclass(thing, Exception) and not _says_how(thing)):
            lines.append(f"```text\n{signature_of(name.rpartition('.')[2], thing)}\n```")
        lines.append(docstring_of(thing))
    else:
        lines.append(known.get(name, ""))
    if level == 2 and hasattr(thing, "__module__"):
        path = Path(inspect.getfile(inspect.unwrap(thing))).relative_to(ROOT)
        lines.append(f"Source: [`{path}`](../../{path})")
    return "\n\n".join(lines)


def _says_how(error: type[Exception]) -> bool:
    return error.__init__ is not Exception.__init__
