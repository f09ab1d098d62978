"""The short form of `python -m proof.losses`: the last commits are lost once, under load."""

import os
import re
import subprocess
import sys

import pytest

from rocketrides.environment import BASE_DIR
from sandbox.supervisor import free_port


@pytest.mark.timeout(300)
def test_a_database_that_loses_its_last_commits_has_nobody_charged_twice_or_for_anothers_ride():
    command = [sys.executable, "-m", "proof.losses", "--port", str(free_port())]
    ran = subprocess.run(
        command, cwd=BASE_DIR, env=os.environ, capture_output=True, text=True, check=False
    )

    said = ran.stdout + ran.stderr
    assert re.search(r"^violations 0$", said, re.MULTILINE), said
    assert "1 losses" in said
