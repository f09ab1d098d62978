"""The how-to guides, each followed in the project where the tutorial ends."""

import re
import shutil
from pathlib import Path

import pytest

from idempotency.tests.conftest import ROOT, installed, wheel  # noqa: F401
from idempotency.tests.readers import BLOCK, another_database, free_port, reading_in

GUIDES = sorted((ROOT / "docs/howto").glob("*.md"))
TUTORIAL = (ROOT / "docs/tutorial.md").read_text()

DATABASE = '"NAME": "shop"'
PORT = re.compile(r"\b8001\b")


@pytest.fixture(scope="session")
def shop(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The tutorial's files, as its last step leaves them."""
    folder = tmp_path_factory.mktemp("shop")
    with reading_in(folder, installed) as reader:
        reader.run("django-admin startproject shop .")
        for language, text in BLOCK.findall(TUTORIAL):
            if language == "python":
                reader.write(text)
        reader.run("python manage.py makemigrations shop")
    return folder


@pytest.mark.timeout(120)
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_a_guide_is_true_in_every_file_and_command(guide, own_session, shop, installed, tmp_path):  # noqa: F811
    shutil.copytree(shop, tmp_path, dirs_exist_ok=True)
    port = free_port()

    with another_database("guide") as name, reading_in(tmp_path, installed) as reader:
        for path in tmp_path.rglob("*.py"):
            here = PORT.sub(port, path.read_text()).replace(DATABASE, f'"NAME": "{name}"')
            path.write_text(here)
        done = reader.follow(PORT.sub(port, guide.read_text()))

    assert done
