"""The README: its one command starts everything, and its commands print what it shows."""

import os
import re
import subprocess
from pathlib import Path

from django.db import connection
from psycopg2.extensions import make_dsn

from tests.processes import Process, free_port, is_open, wait_until

README = Path("README.md").read_text()
CONSOLE = re.search(r"```console\n(.*?)```", README, re.DOTALL)[1]


def test_the_readme_is_true(transactional_db):
    database = make_dsn(os.environ["DATABASE_URL"], dbname=connection.settings_dict["NAME"])
    port = free_port()
    environment = {"DATABASE_URL": database, "PORT": str(port)}
    shown = re.sub(r"localhost:800(\d)", lambda at: f"localhost:{port + int(at[1])}", CONSOLE)
    commands, wanted = split(shown)

    with Process("start.py", environment, port):
        wait_until(lambda: is_open(port + 1))  # whom the server asks
        ran = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, check=True)

    pattern = re.escape(wanted).replace(re.escape("..."), ".*")
    assert re.fullmatch(pattern, one_a_line(ran.stdout)), ran.stdout


def split(shown):
    """Return the commands of a console, and what they print."""
    lines = shown.splitlines()
    commands = [f"{line[2:]}; echo" for line in lines if line.startswith("$ ")]
    return "\n".join(commands), "\n".join(line for line in lines if not line.startswith("$ "))


def one_a_line(printed):
    return "\n".join(line for line in printed.splitlines() if line)
