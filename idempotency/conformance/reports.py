"""What was found, as text for people, as JSON, and as JUnit's XML for build servers."""

import json
from dataclasses import asdict, dataclass
from xml.etree import ElementTree

from idempotency.conformance.asking import Api
from idempotency.conformance.scenarios import SCENARIOS, Broken, Level, NotAsked, Scenario

SYMBOLS = {"held": "ok  ", "broken": "FAIL", "not asked": "-   "}


@dataclass(frozen=True)
class Finding:
    """What one question came to."""

    name: str
    level: str
    source: str
    result: str
    remark: str = ""

    @property
    def is_failure(self) -> bool:
        return self.result == "broken" and self.level == Level.PROMISE


def ask_all(api: Api) -> list[Finding]:
    """Ask every question, each with keys of its own."""
    return [_ask(each, api) for each in SCENARIOS]


def _ask(asked: Scenario, api: Api) -> Finding:
    result, remark = "held", ""
    try:
        remark = asked.ask(api) or ""
    except Broken as broken:
        result, remark = "broken", str(broken)
    except NotAsked as missing:
        result, remark = "not asked", str(missing)
    return Finding(asked.name, asked.level, asked.source, result, remark)


def as_text(findings: list[Finding]) -> str:
    lines = [
        f"{SYMBOLS[each.result]}  {each.level:<8}{each.name:<52}{each.remark}" for each in findings
    ]
    counts = {kind: sum(each.result == kind for each in findings) for kind in SYMBOLS}
    lines.append(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    return "\n".join(lines) + "\n"


def as_json(findings: list[Finding]) -> str:
    return json.dumps([asdict(each) for each in findings], indent=2) + "\n"


def as_junit(findings: list[Finding]) -> str:
    """A suggestion that is not followed is a skipped case, with the reason."""
    suite = ElementTree.Element("testsuite", name="idempotency keys", tests=str(len(findings)))
    for each in findings:
        case = ElementTree.SubElement(suite, "testcase", classname=each.level, name=each.name)
        if each.is_failure:
            ElementTree.SubElement(case, "failure", message=each.remark)
        elif each.result != "held":
            ElementTree.SubElement(case, "skipped", message=f"{each.result}: {each.remark}")
    return ElementTree.tostring(suite, encoding="unicode") + "\n"
