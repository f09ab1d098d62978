"""Who may do what at the API: a table of each address, with each credential, by each method."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

from django.db.models.functions import Now
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from rides.apikeys.keys import issue_key, revoke_key
from rides.models import ApiKey, Ride, User
from rides.tests.booking import COORDINATES, KEY
from rides.tests.hooking import WEBHOOK, event, signature_for

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

# What each method is answered, in their order. RIDE is one of the rider's, and so is the request
# that is asked about at /requests.
TABLE = """
/healthz        | anybody                  | 200 200 200 200 200 200 200 200
/readyz         | anybody                  | 200 200 200 200 200 200 200 200
/metrics        | token of the metrics     | 200 200 200 200 200 200 200 200
/metrics        | others                   | 404 404 404 404 404 404 404 404
/               | anybody                  | 404 404 404 404 404 404 404 404
/nowhere        | anybody                  | 404 404 404 404 404 404 404 404
/openapi.json   | anybody                  | 200 200 405 405 405 405 405 405
/docs           | anybody                  | 200 200 405 405 405 405 405 405
/rides          | API key                  | 200 200 201 405 405 405 405 405
/rides          | session                  | 200 200 201 405 405 405 405 405
/rides          | session without a token  | 200 200 401 405 405 405 405 405
/rides          | others                   | 401 401 401 405 405 405 405 405
/rides/RIDE     | API key                  | 200 200 405 405 405 405 405 405
/rides/RIDE     | session                  | 200 200 405 405 405 405 405 405
/rides/RIDE     | session without a token  | 200 200 405 405 405 405 405 405
/rides/RIDE     | others                   | 401 401 405 405 405 405 405 405
/requests       | API key                  | 200 200 405 405 405 405 405 405
/requests       | session                  | 200 200 405 405 405 405 405 405
/requests       | session without a token  | 200 200 405 405 405 405 405 405
/requests       | others                   | 401 401 405 405 405 405 405 405
/stripe/webhook | Stripe's signature       | 405 405 200 405 405 405 405 405
/stripe/webhook | others                   | 405 405 400 405 405 405 405 405
"""

Headers = dict[str, str]
Pattern = tuple[str, URLPattern]
TOKEN = "t" * 32
METRICS_TOKEN = "of-prometheus"
NOBODYS = "rr_test_1_" + "0" * 12 + "_" + "0" * 64


def by_key(key: str) -> Headers:
    ApiKey.objects.update(last_used_on=Now())  # so that no use of today is written down
    return {"Authorization": f"Bearer {key}"}


def by_session(user: User, token: str = TOKEN) -> Headers:
    client = Client()
    client.force_login(user)
    session = client.cookies["sessionid"].value
    return {"Cookie": f"sessionid={session}; csrftoken={TOKEN}", "X-CSRFToken": token}


def of_staff(rider: User) -> Headers:
    return by_session(User.objects.create_superuser("ops@example.com"))


def a_key(rider: User) -> str:
    return issue_key(rider, "the till")[1]


def expired(rider: User) -> str:
    return issue_key(rider, "the till", expires_at=timezone.now())[1]


def revoked(rider: User) -> str:
    row, key = issue_key(rider, "the till")
    revoke_key(row.prefix)
    return key


def wrong(rider: User) -> str:
    key = a_key(rider)
    return key[:-1] + ("0" if key[-1] != "0" else "1")


CREDENTIALS: dict[str, Callable[[User], Headers]] = {
    "nothing": lambda rider: {},
    "the demo's e-mail": lambda rider: {"Authorization": rider.email},
    "API key": lambda rider: by_key(a_key(rider)),
    "unknown API key": lambda rider: by_key(NOBODYS),
    "wrong API key": lambda rider: by_key(wrong(rider)),
    "expired API key": lambda rider: by_key(expired(rider)),
    "revoked API key": lambda rider: by_key(revoked(rider)),
    "API key of another cell": lambda rider: by_key(a_key(rider).replace("test_1_", "test_2_")),
    "API key of another mode": lambda rider: by_key(a_key(rider).replace("_test_", "_live_")),
    "session": by_session,
    "session without a token": lambda rider: by_session(rider, token=""),
    "session of staff": of_staff,
    "Stripe's signature": lambda rider: {},
    "token of the metrics": lambda rider: {"Authorization": f"Bearer {METRICS_TOKEN}"},
}


@dataclass(frozen=True)
class Row:
    """A row of the table for one credential."""

    address: str
    who: str
    statuses: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.address} by {self.who}"

    @property
    def is_told_in_json(self) -> bool:
        return self.address != "/metrics"

    @property
    def changes_nothing(self) -> bool:
        return not any(200 <= self.statuses[METHODS.index(m)] < 300 for m in ("POST", "DELETE"))

    def path(self) -> str:
        ride = Ride.objects.order_by("pk").values_list("public_id", flat=True).first()
        return self.address.replace("RIDE", str(ride))

    def body(self) -> bytes:
        if self.address == WEBHOOK:
            refund = {"id": "re_1", "object": "refund", "metadata": {}}
            return json.dumps(event("refund.created", refund)).encode()
        return json.dumps({name: float(value) for name, value in COORDINATES.items()}).encode()

    def headers(self, credential: Headers, body: bytes) -> Headers:
        key = KEY if self.address == "/requests" else str(uuid4())
        signed = {"Stripe-Signature": signature_for(body)} if self.who.startswith("Stripe") else {}
        return {"Content-Type": "application/json", "Idempotency-Key": key, **signed, **credential}


def patterns(resolver: URLResolver | None = None, before: str = "") -> Iterator[Pattern]:
    """Yield every address that is served: as the URLconf writes it, and its pattern."""
    for each in (resolver or get_resolver()).url_patterns:
        written = f"{before}{each.pattern}"
        if isinstance(each, URLResolver):
            yield from patterns(each, written)
        else:
            yield written, each


def rows() -> Iterator[Row]:
    """Yield the table with a row for each credential."""
    told: dict[str, dict[str, tuple[int, ...]]] = {}
    for line in TABLE.strip().splitlines():
        address, who, statuses = (cell.strip() for cell in line.split("|"))
        told.setdefault(address, {})[who] = tuple(map(int, statuses.split()))
    for address, by_whom in told.items():
        assert by_whom.keys() <= {*CREDENTIALS, "anybody", "others"}
        for who in CREDENTIALS:
            yield Row(address, who, by_whom.get(who) or by_whom.get("others") or by_whom["anybody"])
