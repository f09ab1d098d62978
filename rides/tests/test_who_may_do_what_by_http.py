"""Who may do what, asked of a server as production has it: the door's answers are among these."""

from collections.abc import Iterator

import pytest
import requests
from django.conf import settings

from rides.models import User
from rides.tests.booking import KEY, every_row
from rides.tests.factories import RideFactory
from rides.tests.processes import GRANIAN, Api, running_api
from rides.tests.rights import CREDENTIALS, METHODS, METRICS_TOKEN, Row, rows
from rocketrides.tests.test_configuration import PRODUCTION
from sandbox.stripe.control import StandIn
from sandbox.supervisor import PATIENCE_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)

VARIABLES = {
    **{name: PRODUCTION[name] for name in ("DEBUG", "ALLOWED_HOSTS")},
    "FOREIGN_KEY_NAMESPACE": settings.IDEMPOTENCY["FOREIGN_KEY_NAMESPACE"],
    "SECRET_KEY": settings.SECRET_KEY,  # or it would know none of the tests' sessions
    "HTTPS_ONLY": "false",
    "METRICS_TOKEN": METRICS_TOKEN,
}


@pytest.fixture(scope="module")
def production(stand_in_process, django_db_setup, tmp_path_factory) -> Iterator[Api]:
    said = " ".join(f"{name}={value}" for name, value in VARIABLES.items())
    folder = tmp_path_factory.mktemp("production")
    with running_api(stand_in_process, folder, f"export {said}; {GRANIAN}") as api:
        yield api


@pytest.mark.parametrize("row", [*rows()], ids=str)
def test_a_server_of_production_opens_an_address_to_what_opens_it(
    row: Row, production: Api, rider: User, stand_in: StandIn
):
    RideFactory(user=rider, idempotency_key__idempotency_key=KEY)
    credential, told = CREDENTIALS[row.who](rider), []
    before = every_row()

    for method in METHODS:
        body = row.body()
        answer = requests.request(
            method,
            f"{production.url}{row.path()}",
            data=body,
            headers=row.headers(credential, body),
            timeout=PATIENCE_SECONDS,
            allow_redirects=False,
        )
        told.append(answer.status_code)
        if answer.status_code >= 400 and row.is_told_in_json:
            assert answer.headers["Content-Type"] == "application/json"
            assert method == "HEAD" or answer.json().keys() == {"error", "code", "retryable"}

    assert tuple(told) == row.statuses
    assert not row.changes_nothing or every_row() == before
