"""Wrong passwords at two servers that share a cache, as production has them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from django.db import connection

from rides.models import User
from rides.tests.processes import Api, run_command, running_api
from sandbox.stripe.control import StandIn
from sandbox.supervisor import PATIENCE_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)

EMAIL, PASSWORD = "ops@example.com", "a password of their own"
TABLE = "rides_cache"


@pytest.fixture
def two(stand_in: StandIn, tmp_path: Path, monkeypatch) -> Iterator[tuple[Api, Api]]:
    monkeypatch.setenv("CACHE_URL", f"dbcache://{TABLE}")
    run_command("createcachetable", stand_in=stand_in, folder=tmp_path)
    try:
        with running_api(stand_in, tmp_path) as one, running_api(stand_in, tmp_path) as other:
            yield one, other
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {TABLE}")


def sign_in(api: Api, password: str) -> int:
    with requests.Session() as browser:
        url = f"{api.url}/admin/login/"
        browser.get(url, timeout=PATIENCE_SECONDS)
        form = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        form |= {"username": EMAIL, "password": password}
        answer = browser.post(url, form, timeout=PATIENCE_SECONDS, allow_redirects=False)
        return answer.status_code


def test_two_servers_count_an_addresss_wrong_passwords_together(two, stand_in, tmp_path):
    one, other = two
    User.objects.create_superuser(EMAIL, PASSWORD)
    assert sign_in(other, PASSWORD) == 302

    answers = [sign_in(two[n % 2], "wrong") for n in range(10)]

    assert answers == [200] * 9 + [429]
    assert sign_in(one, PASSWORD) == sign_in(other, PASSWORD) == 429

    run_command("axes_reset_ip", "127.0.0.1", stand_in=stand_in, folder=tmp_path)
    assert sign_in(one, PASSWORD) == sign_in(other, PASSWORD) == 302
