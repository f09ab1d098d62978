"""`make cells`: four cells on two nodes, behind one HAProxy, with one stand-in for Stripe.

Each cell has an API of its own. Of each worker there is one for the cells of a node, in threads.
"""

import contextlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen

from rocketrides.environment import BASE_DIR, LOCAL_DIR, PORTS, number
from sandbox import start, supervisor
from sandbox.cells.cluster import Cell, Cluster
from sandbox.demo import run_processes
from sandbox.stripe.process import running_stand_in
from sandbox.supervisor import free_port

FOLDER = LOCAL_DIR / "cells"
START_WITHIN_SECONDS = 60
WORKERS = ("completer", "enqueuer", "reaper", "worker")

WELCOME = """
Cells  {where}
API    {api}: the number in a key leads to its cell
{keys}

       curl -i -X POST {api}/rides -H "Authorization: Bearer <key>" \\
            -H "Idempotency-Key: $(openssl rand -hex 32)" \\
            -d origin_lat=0.0 -d origin_lon=0.0 -d target_lat=0.0 -d target_lon=0.0
Move   python -m sandbox move cell_1 {other}
Data   {data}   Ctrl-C ends everything; the data stays
"""


def haproxy() -> str:
    """Return HAProxy's path. Raises: SystemExit."""
    found = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if not found:
        raise SystemExit("There is no haproxy, by which a request finds its cell: make haproxy")
    return found


def run_cells() -> None:
    """Run it all until SIGINT or SIGTERM. Raises: SystemExit, with the reason in one line."""
    haproxy()
    cluster = Cluster(FOLDER)
    port = number("PORT", PORTS, default=5000)
    start.refuse_a_taken_port(port)
    stripe_port = number("SANDBOX_STRIPE_PORT", PORTS, default=12111)
    variables = common(stripe_port)
    with cluster.running():
        cluster.make_cells(variables)
        with running_stand_in(FOLDER / "stripe", stripe_port):
            keys = {cell: key_of(cluster, cell, variables) for cell in cluster.cells}
        ports = {cell: free_port() for cell in cluster.cells}
        commands = {
            "stripe": stripe(ports, stripe_port),
            "haproxy": balancer(port, ports),
            **processes(cluster, ports, variables),
        }

        def welcome() -> str:
            supervisor.wait_until(lambda: all(map(answers, ports.values())), START_WITHIN_SECONDS)
            where = ", ".join(f"{c.schema} on {cluster.node_of(c).name}" for c in cluster.cells)
            return WELCOME.format(
                where=where,
                api=f"http://127.0.0.1:{port}",
                keys="\n".join(f"       {cell.schema}  {key}" for cell, key in keys.items()),
                other=cluster.nodes[1].name,
                data=FOLDER,
            )

        env = supervisor.environment(**start.DEMO_PACE, **variables)
        run_processes(commands, env, welcome, lambda: start.Interrupted.asked)


def common(stripe_port: int) -> dict[str, str]:
    """Return what all processes have alike."""
    return {
        "SANDBOX_STRIPE_PORT": str(stripe_port),
        "DJANGO_SETTINGS_MODULE": "rocketrides.settings",
    }


def answers(port: int) -> bool:
    """Say whether an API is ready, as HAProxy asks it."""
    with contextlib.suppress(OSError):
        return urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200
    return False


def key_of(cluster: Cluster, cell: Cell, variables: Mapping[str, str]) -> str:
    """Return an API key of the cell's rider: that of the last time, or a new one."""
    kept = cluster.folder / f"key-{cell.number}"
    if not kept.exists():
        made = subprocess.run(
            [sys.executable, "-m", "sandbox.cells.people"],
            cwd=BASE_DIR,
            env=supervisor.environment(**cluster.environment(cell), **variables),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        kept.touch(mode=0o600)
        kept.write_text(made.stdout)
    return kept.read_text().strip()


def with_variables(variables: Mapping[str, str], command: str) -> str:
    said = shlex.join(f"{name}={value}" for name, value in variables.items())
    return f"exec env {said} sh -c {shlex.quote(command)}"


def processes(
    cluster: Cluster, ports: Mapping[Cell, int], variables: Mapping[str, str]
) -> dict[str, str]:
    """Return the commands of each cell's API and of each node's workers."""
    from_procfile = supervisor.commands()
    named = {}
    for cell, port in ports.items():
        own = cluster.environment(cell) | {"PORT": str(port)} | dict(variables)
        named[f"api-{cell.number}"] = with_variables(own, from_procfile["api"])
    for node in cluster.nodes:
        schemas = [cell.schema for cell in cluster.cells if cluster.node_of(cell) == node]
        own = {"DATABASE_URL": cluster.url_by_way_of(node)} | dict(variables)
        for worker in WORKERS:
            command = f"{from_procfile[worker]} --cells {','.join(schemas)}"
            named[f"{worker}-{node.name}"] = with_variables(own, command)
    return named


def balancer(port: int, ports: Mapping[Cell, int]) -> str:
    """Return HAProxy's command, with the two files that production has."""
    addresses = {cell: f"127.0.0.1:{own}" for cell, own in ports.items()}
    first, *further = addresses
    variables = {
        "HAPROXY_BIND": f"127.0.0.1:{port}",
        "RIDES_HOST": "localhost",
        "RIDES_API_1": addresses[first],
        "RIDES_API_2": addresses[first],
        "RIDES_CELLS": "1",
        **{f"RIDES_CELL_{cell.number}": addresses[cell] for cell in further},
    }
    files = [BASE_DIR / "deploy" / name for name in ("haproxy.cfg", "haproxy-cells.cfg")]
    return with_variables(variables, shlex.join(_haproxy_with(files)))


def _haproxy_with(files: list[Path]) -> list[str]:
    return [haproxy(), "-db", *(word for file in files for word in ("-f", str(file)))]


def stripe(ports: Mapping[Cell, int], port: int) -> str:
    """Return the stand-in's command: each cell's host has an address for events of its own."""
    command = ["exec", "python", "-m", "sandbox.stripe", "--stand-by", "--port", str(port)]
    command += ["--data", str(FOLDER / "stripe")]
    for cell, own in ports.items():
        command += ["--webhook", f"http://127.0.0.1:{own}/stripe/webhook"]
        command += ["--webhook-secret", cell.webhook_secret]
    return shlex.join(command)


def move(schema: str, name: str) -> None:
    """Do `python -m sandbox move CELL NODE`.

    Raises: SystemExit, where there is no such cell or node.
    """
    cluster = Cluster(FOLDER)
    cells = {cell.schema: cell for cell in cluster.cells}
    nodes = {node.name: node for node in cluster.nodes}
    if schema not in cells or name not in nodes:
        raise SystemExit(f"There are the cells {', '.join(cells)} and the nodes {', '.join(nodes)}")
    moved = cluster.move(cells[schema], nodes[name])
    sys.stdout.write(f"{schema} {'is on' if moved else 'was already on'} {name}\n")
