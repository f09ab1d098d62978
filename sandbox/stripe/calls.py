"""One call of the API as its endpoint sees it, and what an endpoint is."""

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.stripe.ledger import Ledger, Resource
from sandbox.stripe.parameters import Parameters


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """What an endpoint needs: the ledger, the parameters, the id in the URL, and its fate."""

    ledger: Ledger
    parameters: Parameters
    path: str
    object_id: str
    host: str  # under which the client has reached the stand-in
    must_decline: bool  # a `decline` fault hit this call
    must_process: bool  # a `processing` fault did
    must_wait: bool  # a `refund_pending` fault did


# Reads its parameters, changes the ledger, returns an object or a list object.
# Raises `Refused` before it changes anything, `Failed` after.
Endpoint = Callable[[Call], Resource]
