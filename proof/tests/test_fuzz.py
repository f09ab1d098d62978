"""The short form of `python -m proof.fuzz`, and whether it would see what it looks for."""

import os
import re
import subprocess
import sys

import pytest

from proof.fuzz.raw import Answer, Told, answers_in
from proof.fuzz.stories import Story
from rocketrides.environment import BASE_DIR

CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nIdempotent-Replayed: false\r\n\r\n{}"
REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
HEADERS_ONLY = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"


@pytest.mark.timeout(240)
def test_what_none_should_ask_is_refused_as_documented_and_leaves_no_trace() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "proof.fuzz", "--requests", "2000"],
        cwd=BASE_DIR,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert re.search(r"^violations 0$", ran.stdout, re.MULTILINE), ran.stdout + ran.stderr
    assert re.search(r"^  /rides: .*\b201 [0-9]+", ran.stdout, re.MULTILINE)


def test_answers_on_one_connection_are_counted_one_by_one() -> None:
    answers, rest = answers_in(CREATED + REFUSED + HEADERS_ONLY)

    assert [(answer.status, answer.body) for answer in answers] == [
        *((201, b"{}"), (400, b""), (200, b"")),
    ]
    assert rest == b""
    assert answers_in(CREATED + b"<html>")[1] == b"<html>"


@pytest.mark.parametrize(
    ("received", "story", "fault"),
    [
        (CREATED + CREATED, Story(b""), "2 answers to at most 1"),
        (CREATED, Story(b"", 2, answers=2), "1 answers to 2"),
        (CREATED, Story(b"", may_book=False), "accepted"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\noh", Story(b""), "500"),
        (b"HTTP/1.1 503 Oh\r\nContent-Length: 2\r\n\r\noh", Story(b""), "503"),
        (b"HTTP/1.1 400 Oh\r\nContent-Length: 2\r\n\r\noh", Story(b""), "of no type"),
        (
            b"HTTP/1.1 400 Oh\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
            *(Story(b""), "says no code"),
        ),
        (b"oh", Story(b""), "no HTTP"),
    ],
)
def test_what_an_answer_may_not_be_is_a_fault(received: bytes, story: Story, fault: str) -> None:
    answers, rest = answers_in(received)

    assert any(fault in said for said in Told("a way", story, answers, rest, True).faults())


def test_a_refusal_with_a_code_is_no_fault() -> None:
    body = b'{"error": "No.", "code": "no", "retryable": false}'
    answer = Answer(400, b"HTTP/1.1 400 No\r\nContent-Type: application/json", body)

    assert list(answer.faults()) == []
