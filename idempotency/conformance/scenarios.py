"""The questions, each with the source of what it asks for.

*Draft* is draft-ietf-httpapi-idempotency-key-header-07 (expired in April 2026), *Stripe* its page
https://docs.stripe.com/api/idempotent_requests.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from idempotency.conformance.asking import Answer, Api, new_key

AT_ONCE = 8
SETTLED_WITHIN_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 0.25
CONFLICTS = (409, 425, 429, 503)
"""Of duplicates at once, what all but the first may be told: to come again."""


class Level(StrEnum):
    """How much a question weighs: a broken promise fails the run."""

    PROMISE = "promise"
    SHOULD = "should"


class Broken(AssertionError):
    """What the API did, in place of what was asked for."""


class NotAsked(Exception):
    """What is missing for the question."""


@dataclass(frozen=True)
class Scenario:
    """A question: `ask` raises `Broken` where the answer is no, and may return a remark."""

    name: str
    level: Level
    source: str
    ask: Callable[[Api], str | None]


SCENARIOS: list[Scenario] = []


def scenario(level: Level, source: str) -> Callable[[Callable[[Api], str | None]], None]:
    def add(ask: Callable[[Api], str | None]) -> None:
        SCENARIOS.append(Scenario(ask.__name__.replace("_", " "), level, source, ask))

    return add


def done(api: Api, key: str) -> Answer:
    answer = api.send(key)
    if not answer.is_done:
        raise Broken(f"a fresh request was answered {answer}")
    return answer


def expect(holds: bool, said: str) -> None:
    if not holds:
        raise Broken(said)


def finally_done(api: Api, key: str) -> Answer:
    """Send the same request until it is done, or is refused for good."""
    ends_at = time.monotonic() + SETTLED_WITHIN_SECONDS
    while True:
        answer = api.send(key)
        is_to_come_again = answer.status == 0 or answer.status in CONFLICTS
        if not is_to_come_again or time.monotonic() > ends_at:
            return answer
        time.sleep(LOOK_AGAIN_SECONDS)


@scenario(Level.PROMISE, "Draft 2.6, Stripe")
def a_retry_gets_the_first_answer_again(api: Api) -> str | None:
    key = new_key()
    first, again = done(api, key), api.send(key)
    expect(again.status == first.status, f"{first.status}, and then {again.status}")
    expect(again.body == first.body, f"another body: {first.body[:80]!r}, then {again.body[:80]!r}")
    kept = first.headers.get("Location"), again.headers.get("Location")
    expect(kept[0] == kept[1], f"Location was {kept[0]}, and then {kept[1]}")
    marked = [name for name in again.headers if name.lower().endswith("-replayed")]
    return f"marked by {marked[0]}" if marked else "not marked as a replay"


@scenario(Level.PROMISE, "Draft 2.6")
def a_retry_does_nothing_more(api: Api) -> str | None:
    before = counted(api)
    key = new_key()
    done(api, key)
    for _ in range(3):
        api.send(key)
    expect(counted(api) == before + 1, f"{counted(api) - before} things were done for one key")
    return None


@scenario(Level.PROMISE, "Draft 2.2")
def another_key_is_another_request(api: Api) -> str | None:
    first, other = done(api, new_key()), done(api, new_key())
    expect(not (first.is_marked or other.is_marked), "a fresh key was answered with a replay")
    return None


@scenario(Level.PROMISE, "Draft 2.6")
def of_duplicates_at_once_one_is_done(api: Api) -> str | None:
    has_count = api.counted_at is not None
    before = counted(api) if has_count else 0
    key, together = new_key(), threading.Barrier(AT_ONCE)

    def send() -> Answer:
        together.wait()
        return api.send(key)

    with ThreadPoolExecutor(AT_ONCE) as clients:
        answers = [future.result() for future in [clients.submit(send) for _ in range(AT_ONCE)]]
    last = finally_done(api, key)
    finals = {(answer.status, answer.body) for answer in (*answers, last) if answer.is_done}
    expect(len(finals) == 1, f"{len(finals)} different final answers: {sorted(finals)[:3]}")
    others = sorted({answer.status for answer in answers if not answer.is_done})
    wrong = [status for status in others if status not in CONFLICTS]
    expect(not wrong, f"duplicates were answered {wrong}")
    if has_count:
        expect(counted(api) == before + 1, f"{counted(api) - before} things were done")
    return f"the others: {others or 'the same answer'}"


@scenario(Level.PROMISE, "Draft 2.6")
def a_client_that_hung_up_gets_the_answer_by_a_retry(api: Api) -> str | None:
    has_count = api.counted_at is not None
    before = counted(api) if has_count else 0
    key = new_key()
    api.hang_up(key)
    answer = finally_done(api, key)
    expect(answer.is_done, f"the retry was answered {answer}")
    expect(api.send(key).body == answer.body, "and the next one otherwise")
    if has_count:
        expect(counted(api) == before + 1, f"{counted(api) - before} things were done")
    return None


@scenario(Level.PROMISE, "Draft 2.7: 422; Stripe: an error")
def a_key_with_another_body_is_refused(api: Api) -> str | None:
    key = new_key()
    first = done(api, key)
    other = api.send(key, body={**api.body, **api.other})
    expect(400 <= other.status < 500, f"it was answered {other}")
    again = api.send(key)
    expect(again.body == first.body, "the first answer was lost by it")
    return f"by {other.status}"


@scenario(Level.PROMISE, "Draft 2.2: unique for each client")
def a_strangers_key_is_its_own(api: Api) -> str | None:
    if api.strangers_headers is None:
        raise NotAsked("say --other-header, another client's credential")
    key = new_key()
    first = done(api, key)
    other = api.send(key, headers=api.strangers_headers)
    place = first.headers.get("Location")
    leaked = other.is_marked or (place is not None and other.headers.get("Location") == place)
    expect(not leaked, f"the stranger was told the first one's answer: {other}")
    return f"answered {other.status}"


@scenario(Level.SHOULD, "Draft 2.7: 400")
def a_request_without_a_key_is_refused(api: Api) -> str | None:
    answer = api.send(None)
    expect(answer.status == 400, f"it was answered {answer}")
    return None


@scenario(Level.SHOULD, "Draft 2.1: a string of Structured Fields")
def a_quoted_key_and_a_bare_one_are_the_same(api: Api) -> str | None:
    key = new_key()
    first, again = api.send(f'"{key}"'), api.send(key)
    expect(first.is_done, f"a quoted key was answered {first}")
    expect(first.body == again.body, "they are two keys")
    return None


@scenario(Level.SHOULD, "HTTP: a header is bytes that a client chose")
def a_key_that_is_none_is_refused_and_never_a_500(api: Api) -> str | None:
    answers = {}
    for name, key in {"empty": "", "10,000 long": "k" * 10_000, "with a comma": "a,b"}.items():
        answers[name] = api.send(key).status
    broken = {name: status for name, status in answers.items() if status >= 500 or not status}
    expect(not broken, f"answered {broken}")
    return ", ".join(f"{name}: {status}" for name, status in answers.items())


@scenario(Level.SHOULD, "Stripe: keys that differ in case differ")
def keys_are_compared_in_every_character(api: Api) -> str | None:
    key = new_key().lower()
    done(api, key)
    other = api.send(key.upper(), body={**api.body, **api.other})
    expect(other.is_done, f"another case of the key was taken for the same: {other}")
    return None


@scenario(Level.SHOULD, "RFC 9110, 10.2.3")
def who_is_to_come_again_is_told_when(api: Api) -> str | None:
    key, together = new_key(), threading.Barrier(AT_ONCE)

    def send() -> Answer:
        together.wait()
        return api.send(key)

    with ThreadPoolExecutor(AT_ONCE) as clients:
        answers = [future.result() for future in [clients.submit(send) for _ in range(AT_ONCE)]]
    refused = [answer for answer in answers if answer.status in CONFLICTS]
    if not refused:
        raise NotAsked("no duplicate was refused")
    without = sum("Retry-After" not in answer.headers for answer in refused)
    expect(not without, f"{without} of {len(refused)} had no Retry-After")
    return None


def counted(api: Api) -> int:
    """Raises: `NotAsked` where the API does not tell how much was done."""
    count = api.count()
    if count is None:
        raise NotAsked("say --count-url, an address that tells how much was done")
    return count
