"""Stripe's API key in a file, rotated while the process runs: no booking is lost for it."""

from pathlib import Path

import pytest

from rides.payments.client import api_key, client
from rides.tests.booking import ask

OLD, NEW = "sk_test_old", "sk_test_new"
REVOKED = "pk_of_another_kind"  # which the stand-in takes for none


@pytest.fixture
def file(tmp_path: Path, settings) -> Path:
    path = tmp_path / "stripe_api_key"
    path.write_text(f"{OLD}\n")
    settings.STRIPE_API_KEY_FILE = str(path)
    return path


def rewrite(file: Path, text: str) -> None:
    """As a secret's store does: another file takes the name."""
    other = file.with_suffix(".next")
    other.write_text(text)
    other.replace(file)


def test_the_file_is_read_again_when_it_has_changed(file):
    assert api_key() == OLD
    before = client()

    rewrite(file, NEW)

    assert api_key() == NEW
    assert client() is not before


@pytest.mark.parametrize("text", ["", "\n", "sk_t\x00"])
def test_a_file_that_is_being_written_changes_nothing(file, text):
    assert api_key() == OLD

    rewrite(file, text)

    assert api_key() == OLD


def test_a_file_that_is_gone_for_a_moment_changes_nothing(file):
    assert api_key() == OLD

    file.unlink()

    assert api_key() == OLD


@pytest.mark.django_db(transaction=True)
def test_a_booking_that_met_a_revoked_key_goes_on_with_the_next_one(file, rider, stand_in):
    rewrite(file, REVOKED)
    refused = ask(rider=rider.email)

    rewrite(file, NEW)

    assert refused.status_code == 503
    assert ask(rider=rider.email).status_code == 201
    assert len(stand_in.charges()) == 1
