"""Projects that differ from ours: each is set up, serves, is killed, and is put right.

Where a project differs is in the module of its name in `projects`; what it runs is `shop`.
"""

import json

import pytest

PROJECTS = {
    "bare": ["default"],
    "apart": ["default", "shop"],
    "local_times": ["default"],
    "replica": ["default", "replica"],
}
KEPT_IN = {"apart": "shop"}

ACCOUNTS = """
from shop.models import Account
accounts = [Account(name="ann"), Account(name="bob")]
for alias in {aliases}:
    Account.objects.using(alias).bulk_create(accounts)
"""
COUNTS = """
import json
from idempotency.models import IdempotencyKey, JobDelivery, StagedJob
from shop.models import Note, Order, Receipt
counted = {{
    model.__name__: model.objects.using("{alias}").count()
    for model in (Note, Order, Receipt, StagedJob, JobDelivery)
}}
keys = IdempotencyKey.objects.using("{alias}")
unfinished = keys.exclude(recovery_point="finished").count()
print(json.dumps({{**counted, "unfinished": unfinished}}))
"""

A_MINUTE_PASSES = """
import pytest  # without a test's runner, and with DEBUG off, the next line is refused
from datetime import timedelta
from idempotency.testing.clock import let_time_pass
let_time_pass(timedelta(minutes=1))
"""

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]


@pytest.fixture
def ready(request, project):
    """The project with its tables and accounts, and a server."""
    name = request.node.callspec.params["project"]
    for alias in PROJECTS[name]:
        said = project.manage("migrate", "--verbosity", "0", "--database", alias)
        assert said == ""  # of what it is about to mend nothing is said
    with_accounts = [alias for alias in PROJECTS[name] if (name, alias) != ("apart", "default")]
    project.do(ACCOUNTS.format(aliases=with_accounts))
    project.kept_in = KEPT_IN.get(name, "default")
    project.serve()
    return project


def counts(project):
    return json.loads(project.do(COUNTS.format(alias=project.kept_in)))


@pytest.mark.parametrize("project", PROJECTS, indirect=True)
def test_an_adopters_project_keeps_every_promise(ready, ledger, key):
    # The checks find nothing, those that ask the database included.
    asked = [word for alias in {"default", ready.kept_in} for word in ("--database", alias)]
    ready.manage("check", "--fail-level", "WARNING", *asked)

    # A booking, its replay, and the key with something else.
    first = ready.post("/orders", key, book="Emma", giver="bob")
    assert (first.status, first.body["account"]) == (201, "bob"), first.body
    again = ready.post("/orders", key, book="Emma", giver="bob")
    assert (again.status, again.body, again.is_replayed) == (201, first.body, True)
    assert ready.post("/orders", key, book="Ulysses").status == 409

    # The server is killed while the payment is in the air: the retry goes on.
    ledger.meanwhile(ready.kill)
    assert ready.post("/orders", f"{key}-killed", book="Emma") is None
    ready.serve()
    assert counts(ready)["unfinished"] == 1
    ready.do(A_MINUTE_PASSES)
    assert ready.post("/orders", f"{key}-killed", book="Emma").status == 201

    # And again: the client gives up, the completer goes on.
    ledger.meanwhile(ready.kill)
    assert ready.post("/orders", f"{key}-abandoned", book="Emma") is None
    ready.serve()
    ready.do(A_MINUTE_PASSES)
    ready.manage("completer", "--once")

    # A view that only writes.
    assert ready.post("/notes", f"{key}-noted", text="Witty").body == {"text": "Witty"}
    assert ready.post("/notes", f"{key}-noted", text="Witty").is_replayed

    # The jobs, and the reaper, which finds nothing old.
    ready.manage("enqueuer", "--once")
    ready.manage("db_worker", "--batch", "--queue-name", "*")
    ready.manage("reaper", "--once")
    ready.manage("review", "list")
    ready.manage("jobs", "list")

    assert len(ledger.payments) == 3
    assert counts(ready) == {
        **{"Note": 1, "Order": 3, "Receipt": 3},
        **{"StagedJob": 0, "JobDelivery": 0, "unfinished": 0},
    }
