"""Every block of a page is of its language, and every command that a page shows exists."""

import importlib.util
import json
import re
import shlex
import tomllib
from argparse import ArgumentParser, _SubParsersAction
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from typing import Any

import pytest
import yaml
from django.core.management import get_commands, load_command_class

from docs.tests.pages import GUIDE, Page, a_page
from idempotency.tests.conftest import ROOT

PARSERS: dict[str, Callable[[str], Any]] = {
    "python": lambda text: compile(text, "a block", "exec"),
    "json": json.loads,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
    "ini": lambda text: ConfigParser(interpolation=None).read_string(text),
}
# What a program prints, and what only a shell or a database can read.
UNREAD = {"", "text", "sql", "sh", "console"}

TARGETS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
ASSIGNMENT = re.compile(r"\w+=.*")


def wrong_blocks(page: Page) -> Iterator[str]:
    for language, text in page.blocks:
        if language in UNREAD:
            continue
        try:
            PARSERS[language](text)
        except Exception as error:
            yield f"{language}: {error!r}"


def commands_of(page: Page) -> Iterator[list[str]]:
    """Yield the words of each command, in blocks and in the text."""
    lines = [line for line in page.named if re.match(r"(make|python|manage\.py) ", line)]
    for language, text in page.blocks:
        joined = text.replace("\\\n", " ")
        if language == "sh":
            lines += joined.splitlines()
        elif not page.is_followed:
            lines += re.findall(r"^\w*\$ (.+)$", joined, re.MULTILINE)
    for line in lines:
        try:
            words = shlex.split(line, comments=True)
        except ValueError:  # of another shell's, or with an ellipsis for what is left out
            continue
        while words and ASSIGNMENT.fullmatch(words[0]):
            del words[0]
        yield words


def unknown_commands(page: Page) -> Iterator[str]:
    for words in commands_of(page):
        if fault := fault_of(words):
            yield f"{' '.join(words)}: {fault}"


def fault_of(words: list[str]) -> str | None:
    match words:
        case ["make", *rest]:
            targets = {word for word in rest if re.fullmatch(r"[a-z][\w-]*", word)}
            return ", ".join(targets - TARGETS) or None
        case ["manage.py", name, *rest] | ["python", "manage.py", name, *rest]:
            return fault_of_management(name, rest)
        case ["python", "-m", module, *_]:
            return None if is_module(module) else "no such module"
    return None


def fault_of_management(name: str, words: list[str]) -> str | None:
    if name not in get_commands():
        return "no such command"
    app = get_commands()[name]
    command = load_command_class(app, name) if isinstance(app, str) else app
    parser: ArgumentParser = command.create_parser("manage.py", name)
    return fault_of_words(parser, [word for word in words if word not in {"…", "...", "|"}])


def fault_of_words(parser: ArgumentParser, words: list[str]) -> str | None:
    """Return what the parser, or that of its action, does not know: an option, or an action."""
    inner = next((a for a in parser._actions if isinstance(a, _SubParsersAction)), None)
    for number, word in enumerate(words):
        if word in {"||", "&&", ">"}:
            break
        option = word.partition("=")[0]
        if word.startswith("-") and option not in parser._option_string_actions:
            return f"no such option: {option}"
        if inner and not word.startswith("-"):
            if word not in inner.choices:
                return f"no such action: {word}"
            return fault_of_words(inner.choices[word], words[number + 1 :])
    return None


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", GUIDE, ids=str)
def test_every_block_of_a_page_is_of_its_language(page):
    assert {language for language, _ in page.blocks} <= UNREAD | set(PARSERS)
    assert list(wrong_blocks(page)) == []


@pytest.mark.parametrize("page", GUIDE, ids=str)
def test_every_command_of_a_page_exists_with_its_options(page):
    assert list(unknown_commands(page)) == []


def test_blocks_and_commands_are_found_on_the_pages():
    assert sum(len(page.blocks) for page in GUIDE) > 100
    assert sum(1 for page in GUIDE for _ in commands_of(page)) > 200


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "def f(:\n"),
        ("json", "{'a': 1}"),
        ("toml", "a = \n"),
        ("yaml", "a: [1"),
        ("ini", "a = 1"),
    ],
)
def test_a_block_that_is_not_of_its_language_is_found(language, text):
    assert len(list(wrong_blocks(a_page(f"```{language}\n{text}\n```\n")))) == 1


@pytest.mark.parametrize(
    "command",
    [
        "make nowhere",
        "make test nowhere PORT=1",
        "DEBUG=false python manage.py nowhere",
        "python manage.py completer --nowhere",
        "python manage.py review nowhere",
        "python manage.py jobs put-back --nowhere",
        "python -m proof.nowhere",
    ],
)
def test_a_command_that_does_not_exist_is_found(command):
    in_blocks = a_page(f"```sh\nmake test\n{command}  # why\n```\n```console\n$ {command}\n```\n")

    assert len(list(unknown_commands(in_blocks))) == 2


def test_a_command_of_the_text_that_does_not_exist_is_found():
    assert len(list(unknown_commands(a_page("Run `make nowhere`, then `manage.py nowhere`.")))) == 2
