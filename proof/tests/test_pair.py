"""A switchover: what does not end is ended, and one that fails leaves the primary what it was."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from proof.chaos.pair import Pair, ask
from sandbox import postgres
from sandbox.supervisor import wait_until

READ_ONLY = "SHOW default_transaction_read_only"


@pytest.fixture
def pair() -> Iterator[Pair]:
    # Where the servers may enter that run as another user than root.
    with tempfile.TemporaryDirectory(prefix="pair-") as folder:
        Path(folder).chmod(0o755)
        pair = Pair(Path(folder))
        pair.start()
        try:
            yield pair
        finally:
            pair.stop()


@pytest.mark.timeout(120)
def test_a_switchover_that_fails_leaves_the_primary_writing(pair, monkeypatch):
    first = pair.primary
    with monkeypatch.context() as slow:
        slow.setattr(Pair, "_catch_up", never)
        with pytest.raises(TimeoutError):
            pair.switch_over()

    assert pair.primary == first
    wait_until(lambda: ask(first, READ_ONLY) == "off")

    pair.switch_over()

    assert pair.switchovers == 1
    assert pair.primary != first


@pytest.mark.timeout(120)
def test_a_transaction_that_does_not_end_is_ended_by_the_switchover(pair):
    with contextlib.closing(
        psycopg2.connect(postgres.url(pair.primary, postgres.DATABASE))
    ) as writer:
        writer.cursor().execute("CREATE TABLE kept (id int)")

        pair.switch_over()

        with pytest.raises(psycopg2.OperationalError):
            writer.commit()
    assert pair.switchovers == 1


def never(*_: object) -> None:
    raise TimeoutError
