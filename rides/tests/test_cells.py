"""Cells: a process works in its own schema only, and a worker in several, each for itself."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import pytest_django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, connections
from django.db.utils import ProgrammingError

from idempotency import doors
from idempotency.cells import in_cell
from idempotency.checks.database import check_namespace, check_session_limits
from idempotency.exceptions import ForeignRefusal, SendingPaused
from idempotency.foreign_keys import installation_mark, kept_namespace, know_namespace
from idempotency.http import health
from idempotency.jobs import run_job
from idempotency.models import FINISHED, Doors, Heartbeat, IdempotencyKey
from idempotency.support import refusals
from idempotency.support.context import IN_CELL
from idempotency.testing.clock import let_time_pass, until_anybody_may_take_over
from idempotency.watching.counts import Counts, Series
from idempotency.watching.pulse import Pulse
from idempotency.workers.completing import complete_due_keys
from rides.checks import check_schema
from rides.models import AuditRecord, Ride
from rides.operations import CreateRide
from rides.tests.booking import ask, run, the_key
from rides.tests.cells import CELLS, NAMESPACES, empty_cells, made_cells, seed_cells
from rides.tests.processes import running_command
from sandbox.supervisor import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.not_in_a_cell("it makes cells of its own"),
]

SCHEMA = "SELECT current_schema()"


@pytest.fixture(scope="module", autouse=True)
def cells(
    django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker
) -> Iterator[None]:
    with django_db_blocker.unblock(), made_cells():
        connection.close()
        yield


@pytest.fixture(autouse=True)
def emptied(cells: None, db: None) -> Iterator[None]:
    yield
    empty_cells()


@pytest.fixture
def key() -> str:
    return f"of-the-cells-{uuid4()}"


def schema() -> str:
    with connection.cursor() as cursor:
        cursor.execute(SCHEMA)
        return cursor.fetchone()[0]


def standing(cell: str, key: str) -> str:
    with in_cell(cell):
        return the_key(key).recovery_point


def leave_midway(cell: str, key: str) -> None:
    """Leave a request in a cell as a client does that is told 500 and goes away."""
    with in_cell(cell):
        know_namespace()
        assert ask(key, raise_error="true").status_code == 500
        let_time_pass(until_anybody_may_take_over())


# A thread in a cell.


def test_a_thread_is_in_its_cell_from_the_first_statement_on_and_back_after_it():
    before = schema()
    with in_cell("cell_b"):
        assert schema() == "cell_b"
        with in_cell("cell_b"):
            assert schema() == "cell_b"
        with in_cell("cell_a"):
            assert schema() == "cell_a"
        assert schema() == "cell_b"
    assert (schema(), IN_CELL.get()) == (before, "")


def test_a_connection_that_was_lost_comes_back_in_the_same_cell():
    with in_cell("cell_a"):
        schema()
        connection.close()
        assert schema() == "cell_a"


def test_the_session_of_a_cell_ends_with_its_block_also_after_an_error():
    opened = []

    def fail_in_the_cell() -> None:
        with in_cell("cell_a"):
            opened.append(connections["default"])
            schema()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_cell()
    assert opened[0].connection is None
    assert IN_CELL.get() == ""


def test_another_thread_is_where_it_was():
    seen = []
    with in_cell("cell_a"):
        thread = threading.Thread(target=lambda: seen.append(IN_CELL.get()))
        thread.start()
        thread.join()
    assert seen == [""]


@pytest.mark.parametrize("name", ["Cell", "a b", "a,public", "a;DROP", "-c", "ä", "a" * 64])
def test_what_is_no_name_of_a_schema_is_refused(name):
    with pytest.raises(ImproperlyConfigured, match="no name of a schema"), in_cell(name):
        pass


def test_no_cell_changes_nothing_wherever_the_thread_is():
    with in_cell(""):
        assert IN_CELL.get() == ""
    with in_cell("cell_a"), in_cell(""):
        assert schema() == "cell_a"


@pytest.mark.parametrize("pooled", [{"OPTIONS": {"pool": {"max_size": 2}}}, {"POOL_OPTIONS": {}}])
def test_a_pool_is_refused_since_it_hands_a_connection_to_any_thread(monkeypatch, pooled):
    stub = Stub({"OPTIONS": {}, **pooled})
    with monkeypatch.context() as patched:
        patched.setattr(connections, "create_connection", lambda _: stub)
        with pytest.raises(ImproperlyConfigured, match="A pool"), in_cell("cell_a"):
            pass


class Stub:
    """A connection that is not opened."""

    def __init__(self, settings_dict):
        self.settings_dict = settings_dict


# What a process remembers of a database.


def test_the_doors_of_one_cell_are_not_anothers(monkeypatch):
    monkeypatch.undo()  # the tests' own doors, which are always open
    with in_cell("cell_a"):
        doors.close("restored")
    try:
        for cell, are_closed in (("cell_a", True), ("cell_b", False)):
            with in_cell(cell):
                wait_until(lambda are_closed=are_closed: doors.are_closed() is are_closed)
    finally:
        with in_cell("cell_a"):
            Doors.objects.all().delete()
            wait_until(lambda: not doors.are_closed())


def test_each_cell_counts_for_itself():
    counts, series = Counts(), Series("request", "o", "client", "201")
    with in_cell("cell_a"):
        counts.add(series)
    with in_cell("cell_b"):
        assert counts.take() == {}
    with in_cell("cell_a"):
        taken = counts.take()
        assert taken[series].count == 1
        counts.put_back(taken)
        assert counts.take()[series].count == 1
    assert counts.take() == {}


def test_a_pulse_beats_in_the_cell_that_it_began_in(settings):
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "PULSE": timedelta(seconds=10)}
    with in_cell("cell_a"):
        pulse = Pulse("completer")
    pulse.start()
    with in_cell("cell_a"):
        wait_until(Heartbeat.objects.filter(worker="completer").exists)
    pulse.end()  # by a thread that is in no cell, as at the end of a process
    with in_cell("cell_a"):
        assert not Heartbeat.objects.filter(worker="completer").exists()
    assert not Heartbeat.objects.filter(worker="completer").exists()


def test_what_a_cell_is_refused_pauses_the_completer_in_it_and_in_no_other():
    refusal = ForeignRefusal("No such customer.", grounds="resource_missing")
    phase = CreateRide.charge_rider
    for _ in range(refusals.MOST_IN_A_ROW):
        with in_cell("cell_a"):
            refusals.note_failure(phase, refusal)
        with in_cell("cell_b"):
            refusals.note_answer(phase)
    with in_cell("cell_b"):
        refusals.refuse_to_send(phase)
    with in_cell("cell_a"), pytest.raises(SendingPaused):
        refusals.refuse_to_send(phase)


# What is outside.


def test_a_process_of_several_cells_takes_each_ones_namespace_from_its_database():
    for cell in CELLS:
        with in_cell(cell):
            know_namespace()
            assert kept_namespace() == UUID(NAMESPACES[cell])
            assert installation_mark() == NAMESPACES[cell]
    assert installation_mark() not in NAMESPACES.values()


def test_without_a_namespace_nothing_is_done(monkeypatch):
    monkeypatch.setattr("idempotency.foreign_keys.kept_namespace", lambda: None)
    monkeypatch.setattr("idempotency.foreign_keys._of_cells", {})
    with in_cell("cell_a"), pytest.raises(ImproperlyConfigured, match="migrate it first"):
        know_namespace()


def test_where_a_pooler_has_dropped_a_sessions_options_nothing_is_done(monkeypatch):
    monkeypatch.setattr("idempotency.foreign_keys._of_cells", {})
    with in_cell("cell_a"):
        connection.settings_dict["OPTIONS"].pop("options")  # as ignore_startup_parameters does
        with pytest.raises(ImproperlyConfigured, match="'cell_a' is in public"):
            know_namespace()


def test_another_namespace_than_the_databases_is_refused(settings):
    assert check_namespace(databases=["default"]) == []
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "FOREIGN_KEY_NAMESPACE": uuid4()}

    [refused] = check_namespace(databases=["default"])

    assert refused.id == "idempotency.E057"
    assert str(kept_namespace()) in refused.hint
    assert check_namespace(databases=[]) == []


def test_an_instance_that_was_led_to_anothers_database_is_not_ready(settings, client, monkeypatch):
    monkeypatch.setattr(health, "_is_the_databases", threading.Event())
    right = settings.IDEMPOTENCY
    settings.IDEMPOTENCY = {**right, "FOREIGN_KEY_NAMESPACE": uuid4()}

    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["complaints"] == ["FOREIGN_KEY_NAMESPACE is not the database's."]

    settings.IDEMPOTENCY = right
    assert client.get("/readyz").status_code == 200


def test_a_second_migration_keeps_the_first_namespace(settings):
    before = kept_namespace()
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "FOREIGN_KEY_NAMESPACE": uuid4()}
    call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
    assert kept_namespace() == before


@pytest.mark.usefixtures("stand_in")
def test_the_same_request_in_two_cells_is_two_rides_and_two_charges_with_their_marks(stand_in, key):
    seed_cells()
    for cell in CELLS:
        with in_cell(cell):
            know_namespace()
            assert ask(key).status_code == 201
            assert Ride.objects.filter(idempotency_key__idempotency_key=key).count() == 1
    marks = {charge["metadata"]["installation"] for charge in stand_in.charges()}
    assert marks == set(NAMESPACES.values())
    assert len(stand_in.charges()) == 2


@pytest.mark.usefixtures("stand_in")
def test_reconciling_in_one_cell_speaks_of_its_own_charges_only(stand_in, key):
    seed_cells()
    for cell in CELLS:
        with in_cell(cell):
            know_namespace()
            assert ask(key).status_code == 201
    with in_cell("cell_a"):
        Ride.objects.all().delete()
        with pytest.raises(CommandError, match="1 off"):
            run("reconcile")
    with in_cell("cell_b"):
        assert run("reconcile").endswith("discrepancies=0")


# Workers of several cells.


@pytest.mark.usefixtures("stand_in")
def test_a_completer_of_several_cells_goes_on_in_each(stand_in, key, tmp_path):
    seed_cells()
    for cell in CELLS:
        leave_midway(cell, key)

    with running_command(
        *("completer", "--cells", "cell_a,cell_b"), stand_in=stand_in, folder=tmp_path
    ) as completer:
        for cell in CELLS:
            wait_until(lambda cell=cell: standing(cell, key) == FINISHED)
        completer.process.terminate()
        assert completer.process.wait(10) == 0

    marks = {charge["metadata"]["installation"] for charge in stand_in.charges()}
    assert marks == set(NAMESPACES.values())
    assert completer.complaints() == []


@pytest.mark.usefixtures("stand_in")
def test_the_threads_of_a_batch_are_in_its_cell(stand_in, key):
    seed_cells()
    for number in range(3):
        leave_midway("cell_b", f"{key}-{number}")
    with in_cell("cell_b"):
        assert complete_due_keys(10, concurrency=3).counts["succeeded"] == 3
    assert not IdempotencyKey.objects.filter(idempotency_key__startswith=key).exists()


@pytest.mark.usefixtures("stand_in")
def test_a_cell_that_is_away_keeps_no_other_waiting(stand_in, key, tmp_path):
    seed_cells()
    leave_midway("cell_b", key)

    with running_command(
        *("completer", "--cells", "nowhere,cell_b"), stand_in=stand_in, folder=tmp_path
    ) as completer:
        wait_until(lambda: standing("cell_b", key) == FINISHED)
        assert completer.is_running()


@pytest.mark.usefixtures("stand_in")
def test_jobs_of_several_cells_are_handed_over_and_done_in_each(stand_in, key, tmp_path):
    seed_cells()
    for cell in CELLS:
        with in_cell(cell):
            know_namespace()
            assert ask(key).status_code == 201
    of_both = ("--cells", ",".join(CELLS))
    worker = ("db_worker", "--queue-name", "*", "--interval", "0.1", "--no-reload")
    with (
        running_command("enqueuer", *of_both, stand_in=stand_in, folder=tmp_path),
        running_command(*worker, *of_both, stand_in=stand_in, folder=tmp_path) as working,
    ):
        for cell in CELLS:
            with in_cell(cell):
                wait_until(AuditRecord.objects.filter(action="receipt.sent").exists)
        working.process.terminate()
        assert working.process.wait(10) == 0
    assert working.complaints() == []


def test_once_is_once_in_each_cell():
    assert run("reaper", "--once", "--cells", "cell_a, cell_b") == "reaped=0\nreaped=0"


def test_a_cell_that_is_away_keeps_no_other_from_its_once(capsys):
    with pytest.raises(ImproperlyConfigured, match="'nowhere' is in no schema"):
        call_command("reaper", "--once", "--cells", "nowhere,cell_b")
    assert capsys.readouterr().out == "reaped=0\n"


def test_an_enqueuer_of_several_cells_hands_nothing_to_one_broker():
    celery = pytest.importorskip("idempotency.jobs.backends").CeleryBackend("default", {})
    with in_cell("cell_a"), pytest.raises(ImproperlyConfigured, match="one enqueuer for each cell"):
        celery.enqueue(run_job, [], {})


# The check of the schema, and of the limits.


def test_a_session_in_another_schema_is_refused(settings):
    settings.DATABASE_SCHEMA = "cell_a"
    [refused] = check_schema(databases=["default"])
    assert refused.id == "rides.E002"
    with in_cell("cell_a"):
        assert check_schema(databases=["default"]) == []
    settings.DATABASE_SCHEMA = ""
    assert check_schema(databases=["default"]) == []


def test_a_session_that_would_find_behind_its_cell_what_that_lacks_is_refused(settings):
    settings.DATABASE_SCHEMA = "cell_a"
    with in_cell("cell_a"):
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = cell_a, public")
        [refused] = check_schema(databases=["default"])
    assert "in cell_a, public" in refused.msg


def test_the_limits_that_count_are_those_where_the_keys_are():
    assert check_session_limits(databases=["default"]) == []
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 0")
        try:
            [warned] = check_session_limits(databases=["default"])
        finally:
            cursor.execute("RESET lock_timeout")
    assert warned.obj == "lock_timeout"


def test_a_cell_is_made_by_a_command_and_again_without_harm(settings):
    settings.DATABASE_SCHEMA = "cell_c"
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "FOREIGN_KEY_NAMESPACE": uuid4()}
    try:
        with in_cell("cell_c"):
            first, again = run("cell", "create"), run("cell", "create")
            assert kept_namespace() == settings.IDEMPOTENCY["FOREIGN_KEY_NAMESPACE"]
        assert first == again
        assert first.startswith("cell=1 schema=cell_c node=this server namespace=")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP SCHEMA cell_c CASCADE")


def test_a_cell_with_the_namespace_of_another_is_not_made(settings):
    settings.DATABASE_SCHEMA = "cell_c"
    its = UUID(NAMESPACES["cell_b"])
    settings.IDEMPOTENCY = {**settings.IDEMPOTENCY, "FOREIGN_KEY_NAMESPACE": its}
    with pytest.raises(CommandError, match="that of the schema cell_b"):
        call_command("cell", "create")
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_namespace WHERE nspname = 'cell_c'")
        assert cursor.rowcount == 0


def test_who_has_one_cell_has_none_to_make():
    with pytest.raises(CommandError, match="names no schema"):
        call_command("cell", "create")


def test_a_cell_that_was_never_made_is_no_other():
    with in_cell("nowhere"), pytest.raises(ProgrammingError, match="does not exist"):
        IdempotencyKey.objects.first()
