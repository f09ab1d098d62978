"""`docs/tutorial.md`, followed as a reader would."""

import re

import pytest

from idempotency.tests.conftest import ROOT
from idempotency.tests.readers import another_database, free_port, reading_in

PAGE = (ROOT / "docs/tutorial.md").read_text()
# What is another on the machine of the test: free ports, and the name of the database.
PORT = re.compile(r"\b800[01]\b")
DATABASE = '"NAME": "shop"'


@pytest.mark.timeout(300)
@pytest.mark.django_db(transaction=True)
def test_the_tutorial_is_true_in_every_file_command_and_line(own_session, installed, tmp_path):
    ports = {"8000": free_port(), "8001": free_port()}
    page = PORT.sub(lambda found: ports[found[0]], PAGE)

    with another_database("tutorial") as name, reading_in(tmp_path, installed) as reader:
        done = reader.follow(page.replace(DATABASE, f'"NAME": "{name}"'))

    assert len(done) == PAGE.count("\n$ ") > 20
