"""What schemathesis asks by `/openapi.json`: each operation with what fits and with what does not,
and stories along the document's links, from a booking to its retry, its ride and its standing.

It is a process of its own, run again with another seed until it has asked often enough.
"""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from proof.fuzz.service import Service
from rocketrides.environment import BASE_DIR

HOOKS = {"SCHEMATHESIS_HOOKS": "proof.fuzz.hooks", "PYTHONPATH": str(BASE_DIR)}
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")

# What a run asks at the least, and about how often it asks for each example: measured.
AT_LEAST = 250
EACH = 10
MOST_EXAMPLES = 300


@dataclass
class Contract:
    """What was asked and answered so far, and what was not as the contract says."""

    service: Service
    seed: int
    folder: Path
    seen: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return self.seen.total()

    def by_path(self) -> dict[str, Counter[str]]:
        """Return how often each address answered with each status."""
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for name, count in self.seen.items():
            path, _, status = name.rpartition(" ")
            found[path][status] += count
        return found

    def run(self, requests: int) -> None:
        """Ask so often, as one rider after the other."""
        runs = 0
        while self.requests < requests and not self.faults:
            left = max(0, requests - self.requests - AT_LEAST)
            riders = self.service.api_keys
            api_key = riders[runs % len(riders)]
            self._run_once(api_key, self.seed + runs, max(1, min(left // EACH, MOST_EXAMPLES)))
            runs += 1
        self.faults += [f"log: {line}" for line in self.service.complaints()]

    def _run_once(self, api_key: str, seed: int, examples: int) -> None:
        seen = self.folder / "seen.json"
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
            *("--config-file", str(CONFIGURATION), "run", f"{self.service.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {api_key}", "--warnings", "off"),
            *("--seed", str(seed), "--max-examples", str(examples)),
        ]
        ran = subprocess.run(  # noqa: S603 - a tool of ours
            command,
            cwd=self.folder,  # where it leaves a cache
            env={**os.environ, **HOOKS, "FUZZ_SEEN": str(seen)},
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode or not seen.exists():
            self.faults.append(f"seed {seed}:\n{ran.stdout}{ran.stderr}")
            return
        self.seen.update(json.loads(seen.read_text()))
