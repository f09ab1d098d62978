"""The pages as their checks read them: blocks, links, and what they name in the text."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from idempotency.tests.conftest import ROOT

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((<[^>]*>|[^()\s]*(?:\([^()\s]*\)[^()\s]*)*)\)|<(https?:[^>\s]*)>")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
ROW = re.compile(r"^\|(.*)\|$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A page of Markdown. Its path says where its links lead from."""

    path: Path
    text: str

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def blocks(self) -> list[tuple[str, str]]:
        """The fenced blocks: language and text."""
        return [(language, text) for _, language, text in FENCE.findall(self.text)]

    @cached_property
    def prose(self) -> str:
        """What stands outside of the blocks."""
        return FENCE.sub("", self.text)

    @cached_property
    def named(self) -> list[str]:
        """What is written as code in the text."""
        return NAMED.findall(self.prose)

    @property
    def is_followed(self) -> bool:
        """Whether its files and commands are carried out by a test, in a project of their own."""
        return self.path.stem == "tutorial" or self.path.parent.name == "howto"

    @cached_property
    def links(self) -> list[str]:
        found = LINK.findall(NAMED.sub("``", self.prose))
        return [(inside or bare).strip("<>") for inside, bare in found]

    @cached_property
    def anchors(self) -> set[str]:
        """The names of its headings, as GitHub and the site make them."""
        seen: Counter[str] = Counter()
        anchors = set()
        for heading in HEADING.findall(self.prose):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
            name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
            anchors.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
        return anchors

    @property
    def tables(self) -> Iterator[list[list[str]]]:
        """The rows of each table, the head first, as their cells."""
        rows: list[list[str]] = []
        for line in [*self.prose.splitlines(), ""]:
            if match := ROW.match(line):
                rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", match[1])])
            elif rows:
                yield rows
                rows = []


def read(path: Path) -> Page:
    return Page(path, path.read_text())


def a_page(text: str) -> Page:
    """One that is not there, beside the others."""
    return Page(ROOT / "docs/planted.md", text)


GUIDE = [read(ROOT / "README.md"), *map(read, sorted((ROOT / "docs").rglob("*.md")))]
ALL = [*GUIDE, read(ROOT / "CONTRIBUTING.md"), read(ROOT / "CHANGELOG.md")]
