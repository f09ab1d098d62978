"""The account whose API key it is. Source: https://docs.stripe.com/api/accounts"""

from sandbox.stripe.calls import Call, Endpoint
from sandbox.stripe.ledger import Resource

ACCOUNT_ID = "acct_standin"


def _retrieve(call: Call) -> Resource:
    call.parameters.allow("expand")
    return {"id": ACCOUNT_ID, "object": "account"}


ENDPOINTS: dict[str, Endpoint] = {"GET /v1/account": _retrieve}
