"""The short form of `python -m proof.two_releases`: the last release beside this code."""

import os
import re
import subprocess
import sys

import pytest

from proof.two_releases import last_release
from rides.tests.balancing import PROGRAM
from rocketrides.environment import BASE_DIR

SECONDS = "20"


def is_known(commit: str) -> bool:
    look = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    return subprocess.run(look, cwd=BASE_DIR, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not PROGRAM, reason="NOT TESTED: there is no haproxy; `make haproxy`")
@pytest.mark.skipif(
    not is_known(last_release()), reason="NOT TESTED: this copy of the repository has no history"
)
@pytest.mark.timeout(300)
def test_the_last_release_and_this_code_finish_each_others_requests() -> None:
    command = [sys.executable, "-m", "proof.two_releases", "--seconds", SECONDS]
    ran = subprocess.run(
        command, cwd=BASE_DIR, env=os.environ, capture_output=True, text=True, check=False
    )

    seen = dict(re.findall(r"^ *(\d+)  (.+)$", ran.stdout, re.MULTILINE)[::-1])
    counted = {what: int(count) for count, what in seen.items()}
    assert counted.get("violations") == 0, ran.stdout + ran.stderr
    assert counted["replays"] > 0
    assert counted["keys with more than one attempt"] > 0
