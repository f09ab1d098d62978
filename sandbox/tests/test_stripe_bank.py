"""The page of the rider's bank that the stand-in plays, as a browser sees it."""

import pytest
import requests

from sandbox.stripe.control import ControlError
from sandbox.tests.conftest import pay

BACK = "http://127.0.0.1:1/booked"


@pytest.fixture
def ask(client):
    """Make a payment that waits for its rider; return it with the address of the bank's page."""

    def make(**changed):
        intent = pay(
            client,
            payment_method="pm_card_threeDSecure2Required",
            off_session=False,
            return_url=BACK,
            **changed,
        )
        assert intent.status == "requires_action"
        return intent, intent.next_action.redirect_to_url.url

    return make


@pytest.mark.parametrize(("currency", "shown"), [("usd", "20.00 USD"), ("jpy", "2000 JPY")])
def test_it_says_what_is_asked_for_in_the_currencys_own_decimals(ask, currency, shown):
    _, page = ask(currency=currency)

    assert shown in requests.get(page, timeout=5).text


@pytest.mark.parametrize(
    ("decision", "status"), [("confirm", "succeeded"), ("refuse", "requires_payment_method")]
)
def test_a_decision_leads_back_to_the_shop(ask, client, decision, status):
    intent, page = ask()

    answer = requests.post(page, {"decision": decision}, timeout=5, allow_redirects=False)

    assert answer.status_code == 303
    assert answer.headers["Location"].startswith(f"{BACK}?payment_intent={intent.id}&")
    assert client.v1.payment_intents.retrieve(intent.id).status == status


@pytest.mark.parametrize(("succeeds", "status"), [(True, "succeeded"), (False, "failed")])
def test_a_debits_charge_is_pending_and_ends_as_the_same_one(client, stand_in, succeeds, status):
    stand_in.add_fault("processing", times=1)
    intent = pay(client, payment_method="pm_card_visa")
    [pending] = stand_in.charges()

    stand_in.settle(intent.id, succeeds=succeeds)

    assert (intent.status, pending["status"]) == ("processing", "pending")
    [ended] = stand_in.charges()
    assert ended == pending | {"status": status}


def test_it_asks_once(ask, stand_in):
    intent, page = ask()
    requests.post(page, {"decision": "confirm"}, timeout=5, allow_redirects=False)

    assert requests.get(page, timeout=5).status_code == 404
    with pytest.raises(ControlError):
        stand_in.settle(intent.id, succeeds=False)
    assert len(stand_in.charges()) == 1


def test_what_is_no_decision_decides_nothing(ask, client):
    intent, page = ask()

    assert requests.post(page, {"decision": "maybe"}, timeout=5).status_code == 400
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_action"


def test_the_page_of_another_site_decides_nothing(ask, client):
    intent, page = ask()
    headers = {"Origin": "http://attacker.example"}

    answer = requests.post(page, {"decision": "confirm"}, headers=headers, timeout=5)

    assert answer.status_code == 403
    assert client.v1.payment_intents.retrieve(intent.id).status == "requires_action"
