"""The short form of `python -m proof.chaos`: all that can happen, for a few seconds."""

import os
import re
import subprocess
import sys

import pytest

from rocketrides.environment import BASE_DIR
from sandbox.supervisor import free_port


@pytest.mark.timeout(180)
def test_nothing_that_happens_breaks_a_promise():
    said = chaos("--minutes", "0.25", "--patience", "0")

    assert re.search(r"^violations +0$", said, re.MULTILINE), said
    assert not re.search(r"^  500 ", said, re.MULTILINE), said


@pytest.mark.timeout(180)
def test_in_good_order_nobody_is_answered_with_an_error():
    said = chaos("--minutes", "0.1", "--patience", "0", "--nemeses")

    assert re.search(r"^violations +0$", said, re.MULTILINE), said
    assert not re.search(r"^  5\d\d ", said, re.MULTILINE), said


@pytest.mark.timeout(180)
def test_an_enrolment_that_its_client_leaves_is_finished_by_the_completer():
    """What comes of the part that is let happen must be seen, so the run goes on until it is."""
    said = chaos("--minutes", "0.05", "--patience", "60", "--nemeses", "ledger")

    assert re.search(r"^  enrolments finished by the completer +[1-9]", said, re.MULTILINE), said
    assert re.search(r"^violations +0$", said, re.MULTILINE), said


def chaos(*arguments: str) -> str:
    command = [sys.executable, "-m", "proof.chaos", "--port", str(free_port()), *arguments]
    ran = subprocess.run(
        command, cwd=BASE_DIR, env=os.environ, capture_output=True, text=True, check=False
    )
    return ran.stdout + ran.stderr
