"""A name that is not the service's."""

import pytest
from django.test import Client


@pytest.mark.filterwarnings("ignore:No directory at")  # as the settings have it
@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("host", ["evil.example.com", "no host at all"])
def test_a_foreign_host_gets_a_line_of_json(settings, host: str, debug: bool) -> None:
    settings.DEBUG = debug
    answer = Client(headers={"Host": host}).get("/")

    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_host")
    assert len(answer.content) < 300
