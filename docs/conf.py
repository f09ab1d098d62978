"""How `make docs` makes a site of these pages. They read as files as well, so they are plain
Markdown: what a site needs besides, its navigation, is made of the lists of links in `index.md`.
"""

import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

project = "django-idempotency"
author = copyright = "The authors of Rocket Rides, atomic"
html_title = project

extensions = ["myst_parser"]
root_doc = "index"
exclude_patterns = ["tests", "images/*.py", "reference/*.py", "requirements.txt"]
nitpicky = True

myst_heading_anchors = 4  # as GitHub names them

html_theme = "furo"
html_show_sourcelink = False
html_copy_source = False
pygments_style, pygments_dark_style = "tango", "monokai"

LIST_OF_PAGES = re.compile(r"^## (.+)\n((?:(?!## ).*\n)*)", re.MULTILINE)
PAGE = re.compile(r"\]\(([\w/-]+)\.md\)")

MARKDOWN = re.compile(r"\]\(([\w./-]+\.md)\)")


def with_navigation(app: Any, name: str, source: list[str]) -> None:
    """Have the index's sections be those of the site's navigation; and so of the decisions."""
    if name == "index":
        for title, listed in LIST_OF_PAGES.findall(source[0]):
            source[0] += tree_of(PAGE.findall(listed), f":caption: {title}\n")
    if name == "decisions/README":
        source[0] += tree_of(PAGE.findall(source[0]))


def tree_of(pages: list[str], options: str = "") -> str:
    return "\n```{toctree}\n:hidden:\n" + options + "\n" + "\n".join(pages) + "\n```\n"


def with_files_of_the_repository(app: Any, name: str, source: list[str]) -> None:
    """Have a link to Markdown that is no page of the site lead to the file."""
    folder = (HERE / name).parent

    def link(found: re.Match[str]) -> str:
        is_page = (folder / found[1]).resolve().is_relative_to(HERE)
        return found[0] if is_page else f"](<path:{found[1]}>)"

    source[0] = MARKDOWN.sub(link, source[0])


def setup(app: Any) -> None:
    app.connect("source-read", with_files_of_the_repository)
    app.connect("source-read", with_navigation)
