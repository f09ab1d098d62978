"""Who Stripe takes us for: the account, the mode and the version of our calls."""

from dataclasses import dataclass

import stripe

from rides.payments.asking import ask, judging
from rides.payments.client import api_key, client
from rides.payments.shapes import is_id, unexpected

LIVE_KEYS = ("sk_live_", "rk_live_")  # Stripe's docs, "API keys"


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """The account that the API key is of, and the version in which Stripe answers it."""

    account_id: str
    is_live: bool
    version: str
    version_of_code: str

    def __str__(self) -> str:
        mode = "live" if self.is_live else "test"
        return f"account {self.account_id}, {mode} mode, version {self.version}"


def is_live() -> bool:
    """Say whether the key is one by which money is moved."""
    return api_key().startswith(LIVE_KEYS)


def ask_who_we_are() -> Identity:
    """Ask Stripe once, by a call that only reads.

    Raises: Indeterminate, a `ForeignAccessRefused` where Stripe refuses the key; NeedsReview.
    """
    with judging():
        answer = ask(client().v1.accounts.retrieve_current)
    if not is_id(answer.data.get("id")):
        raise unexpected("The account is not what was asked for.", account=answer.data.get("id"))
    return Identity(
        account_id=answer.data["id"],
        is_live=is_live(),
        version=answer.headers.get("Stripe-Version", "unknown"),
        version_of_code=stripe.api_version,
    )


def dashboard_url(payment_id: str) -> str:
    """Return where Stripe's dashboard shows a payment, in the mode of our key.

    Its addresses have the mode in them (https://docs.stripe.com/dashboard/basics).
    """
    mode = "" if is_live() else "test/"
    return f"https://dashboard.stripe.com/{mode}payments/{payment_id}"
