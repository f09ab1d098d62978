"""The short form of `python -m proof.rolling`: each of the two instances is restarted once."""

import os
import re
import subprocess
import sys

import pytest

from rides.tests.balancing import PROGRAM
from rocketrides.environment import BASE_DIR


@pytest.mark.skipif(not PROGRAM, reason="NOT TESTED: there is no haproxy; `make haproxy`")
@pytest.mark.timeout(240)
def test_no_client_notices_a_rolling_restart() -> None:
    command = [sys.executable, "-m", "proof.rolling", "--restarts", "2", "--clients", "6"]
    ran = subprocess.run(
        command, cwd=BASE_DIR, env=os.environ, capture_output=True, text=True, check=False
    )

    assert re.search(r"^violations +0$", ran.stdout, re.MULTILINE), ran.stdout + ran.stderr
