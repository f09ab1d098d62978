"""`requirements.lock`: what the first section of requirements.txt pins and needs, by its hashes.

Nothing is asked of a network: what a package needs is what the one that is installed here says.
`make audit` resolves all of it anew.
"""

import re
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rocketrides.environment import BASE_DIR

LOCK = (BASE_DIR / "requirements.lock").read_text()
PRODUCTION = (BASE_DIR / "requirements.txt").read_text().partition("\n\n")[0]
LICENCES = (BASE_DIR / "docs/licences.md").read_text()

LOCKED = re.compile(
    r"^([\w.-]+)==(\S+)( ;[^\\\n]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.M
)
PIN = re.compile(r"^([\w.-]+)==(\S+)", re.M)


def locked() -> dict[str, str]:
    return {name: version_of for name, version_of, _, _ in LOCKED.findall(LOCK)}


def needed(names: set[str]) -> set[str]:
    """What these packages need on this machine, and what those need."""
    found: set[str] = set()
    waiting = [(name, "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        found.add(name)
        for text in requires(name) or []:
            needs = Requirement(text)
            if needs.marker is None or needs.marker.evaluate({"extra": extra}):
                other = canonicalize_name(needs.name)
                extras = ["", *needs.extras] if other not in found else []
                waiting += [(other, each) for each in extras]
    return found


def test_the_lock_has_each_pin_of_production_with_its_hashes():
    pins = {canonicalize_name(name): pinned for name, pinned in PIN.findall(PRODUCTION)}

    assert len(pins) > 10
    assert pins.items() <= locked().items()
    assert len(locked()) == len(re.findall(r"^[\w.-]+==", LOCK, re.M))


def test_the_lock_has_what_the_pins_need_and_nothing_else():
    pins = {canonicalize_name(name) for name, _ in PIN.findall(PRODUCTION)}
    elsewhere = {name for name, _, marker, _ in LOCKED.findall(LOCK) if marker}

    assert needed(pins) == locked().keys() - elsewhere


def test_the_lock_names_no_place_to_fetch_from():
    assert "://" not in LOCK
    assert "index-url" not in LOCK


def test_the_wheels_of_the_driver_are_locked_for_more_than_one_machine():
    [hashes] = [found for name, _, _, found in LOCKED.findall(LOCK) if name == "psycopg2-binary"]

    assert hashes.count("--hash") > 20


def test_the_licences_are_those_of_what_is_locked():
    listed = dict(re.findall(r"^\| ([\w.-]+) +\| (\S+) +\|", LICENCES, re.M))
    listed.pop("Name")
    elsewhere = {name for name, _, marker, _ in LOCKED.findall(LOCK) if marker}
    wanted = {name: pinned for name, pinned in locked().items() if name not in elsewhere}

    assert {canonicalize_name(name): pinned for name, pinned in listed.items()} == wanted
