"""The short form of `python -m proof.failover`: one switchover under load, each of the two ways."""

import os
import re
import subprocess
import sys

import pytest

from rocketrides.environment import BASE_DIR
from sandbox.supervisor import free_port


@pytest.mark.timeout(180)
@pytest.mark.parametrize("way", ["address", "hosts"])
def test_a_switchover_loses_nothing_and_ends_nothing(way):
    command = [sys.executable, "-m", "proof.failover", "--way", way, "--port", str(free_port())]
    ran = subprocess.run(
        command, cwd=BASE_DIR, env=os.environ, capture_output=True, text=True, check=False
    )

    said = ran.stdout + ran.stderr
    assert re.search(r"^violations 0$", said, re.MULTILINE), said
    assert "1 switchovers" in said
