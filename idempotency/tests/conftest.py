"""What the tests share: the bookshop with its ledger, a customer, and other connections."""

import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connections, transaction
from django.test import Client

import idempotency
from idempotency import stage_job
from idempotency.models import IdempotencyKey
from idempotency.support.compat import Task
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import NAMESPACE, WINDOW, key_sent_for
from idempotency.tests.ledger import Fault, Ledger, running_ledger
from idempotency.tests.tasks import note

Elsewhere = Callable[..., Future[Any]]

ROOT = Path(idempotency.__file__).parent.parent

_numbers = count(1)


@dataclass
class Customer:
    """A client of the bookshop's API with its credential."""

    user: Any = field(
        default_factory=lambda: get_user_model().objects.create_user(
            f"customer-{next(_numbers)}@example.com", is_staff=True
        )
    )
    order: dict[str, Any] = field(default_factory=lambda: {"title": "Emma", "price_cents": 900})

    def send(self, key: str, *, to: str = "/orders", **changes: Any) -> Any:
        """Post the order, as JSON, with some fields changed."""
        return self.post({**self.order, **changes}, key, to=to)

    def post(
        self,
        body: Any,
        key: str,
        *,
        to: str = "/orders",
        content_type: str = "application/json",
        **more: Any,
    ) -> Any:
        headers = {"Authorization": str(self.user.pk), "Idempotency-Key": key}
        return Client().post(to, body, content_type, headers=headers, **more)


@pytest.fixture(autouse=True)
def bookshop(request, settings) -> None:
    """Mount the bookshop, or the operations of the test's own module where it mounts some."""
    own = hasattr(request.module, "urlpatterns")
    settings.ROOT_URLCONF = request.module.__name__ if own else "idempotency.tests.bookshop"
    settings.IDEMPOTENCY = {
        "AUTHENTICATE": "idempotency.tests.bookshop.customer_of",
        "FOREIGN_KEY_NAMESPACE": NAMESPACE,
    }


@pytest.fixture
def ledger(settings) -> Iterator[Ledger]:
    with running_ledger() as running:
        settings.LEDGER_URL = running.url
        yield running


@pytest.fixture
def customer(db: None) -> Customer:
    return Customer()


@pytest.fixture
def key() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def stored(key: str) -> Callable[[], IdempotencyKey]:
    """Read the row of `key`."""
    return lambda: IdempotencyKey.objects.get(idempotency_key=key)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """Call a function in another thread, and so over another connection; return its future."""

    def call(function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=16) as pool:
        yield lambda function, *args: pool.submit(call, function, *args)


@pytest.fixture
def stage(customer: Customer) -> Callable[..., uuid.UUID]:
    """Stage a job in a transaction of its own."""

    def stage(job: Task = note, **arguments: Any) -> uuid.UUID:
        with transaction.atomic():
            return stage_job(job, user_id=customer.user.pk, **arguments)

    return stage


@pytest.fixture
def listed(
    customer: Customer, key: str, stored: Callable[[], IdempotencyKey], ledger: Ledger
) -> Callable[..., IdempotencyKey]:
    """Put a request on the review list: past the window, nothing was found. Returns its row."""

    def put_on_the_list(to: str = "/reviewed") -> IdempotencyKey:
        ledger.faults = [Fault.ERROR_BEFORE]
        customer.send(key, to=to)
        let_time_pass(WINDOW)
        assert customer.send(key, to=to).json()["code"] == "needs_review"
        ledger.calls.clear()
        return stored()

    return put_on_the_list


@pytest.fixture
def paid_late(listed: Callable[..., IdempotencyKey], ledger: Ledger) -> IdempotencyKey:
    """On the list, and the payment is there after all. Returns the row."""
    row = listed()
    payment = {"id": "payment-7", "key": str(key_sent_for(row)), "amount_cents": 900}
    ledger.payments.append(payment)
    ledger.by_key[payment["key"]] = payment
    return row


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that adopters install."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with what the wheel installs."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder
