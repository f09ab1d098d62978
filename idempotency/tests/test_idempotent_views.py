"""`@idempotent`: one transaction has the claim, the view's changes and the answer."""

import threading
from datetime import timedelta

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.http import Http404, HttpResponse, JsonResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from idempotency.exceptions import UnsendableAnswer
from idempotency.models import IdempotencyKey
from idempotency.testing.clock import let_time_pass
from idempotency.tests import invoices as shop
from idempotency.tests.invoices import behaviour, invoices
from idempotency.workers.reaping import reap

pytestmark = pytest.mark.django_db(transaction=True)

urlpatterns = shop.urlpatterns
EVERYWHERE = ["/invoices", "/freely", "/asynchronously", "/class", "/async-class"]


@pytest.fixture(autouse=True)
def calm():
    behaviour.clear()
    yield
    behaviour.clear()


def now(behave):
    behaviour["now"] = behave


@pytest.fixture
def post(customer, key):
    """Send a request with the key, as the customer; a refusal by an exception is raised."""

    def send(body=None, to="/invoices", **changes):
        return customer.post({"amount": 7} if body is None else body, key, to=to, **changes)

    return send


def assert_nothing_is_left():
    assert (invoices(), IdempotencyKey.objects.count()) == (0, 0)


# It is done once.


@pytest.mark.parametrize("to", EVERYWHERE)
def test_a_retry_gets_the_first_answer_and_does_nothing(post, to):
    first, again = post(to=to), post(to=to)

    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert first.headers["Location"] == again.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.headers["Idempotent-Replayed"] == "false"
    assert invoices() == 1


def test_a_replay_has_the_headers_that_are_named_and_no_cookie(post):
    first, again = post(), post()

    assert first.headers["X-Powered-By"] == "invoices"
    assert first.cookies
    assert not again.cookies
    assert "X-Powered-By" not in again.headers


def test_which_headers_those_are_is_a_setting(post, settings):
    settings.IDEMPOTENCY |= {"REPLAYED_HEADERS": ("X-Powered-By",)}
    post()

    assert "X-Powered-By" in post().headers


def test_an_answer_of_a_template_is_stored_as_it_was_rendered(post):
    now(shop.template)

    first, again = post(), post()

    assert first.content == again.content == b"<p>7</p>"


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 422])
def test_answers_below_500_are_stored_with_what_the_view_did(post, status):
    now(lambda _: HttpResponse(status=status))

    assert post().status_code == post().status_code == status
    assert invoices() == 1


def test_it_costs_five_statements_and_a_replay_one(post):
    """Besides the one that finds the user, and the view's own."""
    with CaptureQueriesContext(connection) as first:
        post()
    with CaptureQueriesContext(connection) as again:
        post()

    begin_and_commit, user, view = 2, 1, 1
    assert len(first) == 5 + begin_and_commit + user + view
    assert len(again) == 1 + user


# It leaves nothing.


@pytest.mark.parametrize("status", [401, 403, 408, 409, 423, 425, 429, 500, 503])
def test_an_answer_that_may_be_another_the_next_time_leaves_nothing(post, status):
    now(lambda _: JsonResponse({"of": "the view"}, status=status))

    refused = post()

    assert (refused.status_code, refused.json()) == (status, {"of": "the view"})
    assert_nothing_is_left()
    behaviour.clear()
    assert post().status_code == 201
    assert invoices() == 1


@pytest.mark.parametrize("to", ["/invoices", "/asynchronously"])
def test_an_exception_leaves_nothing_and_is_the_projects(post, to):
    now(lambda _: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        post(to=to)

    assert_nothing_is_left()


def test_what_django_makes_an_answer_of_leaves_nothing_either(post):
    def raise_404(request):
        raise Http404

    now(raise_404)

    assert post().status_code == 404
    assert_nothing_is_left()


def test_a_view_that_rolls_back_has_its_answer_sent_and_leaves_nothing(post):
    now(shop.roll_back)

    assert post().status_code == 201
    assert_nothing_is_left()


def test_which_are_not_stored_is_said_of_a_view_too(post):
    now(lambda _: HttpResponse(status=404))

    assert post(to="/freely").status_code == 404
    assert_nothing_is_left()


def test_and_by_a_setting(post, settings):
    settings.IDEMPOTENCY |= {"NOT_STORED": (422,)}
    now(lambda _: HttpResponse(status=422))

    assert post().status_code == 422
    assert_nothing_is_left()


@pytest.mark.parametrize("answer", [shop.stream, shop.file, lambda _: {"a": "dict"}])
def test_what_cannot_be_stored_is_refused_to_the_author(post, answer):
    now(answer)

    with pytest.raises(UnsendableAnswer, match="@idempotent"):
        post()

    assert_nothing_is_left()


# Another request.


@pytest.mark.parametrize(
    "other",
    [
        {"body": {"amount": 8}},
        {"body": [7]},
        {"body": b"not json"},
        {"to": "/invoices?draft=1"},
        {"to": "/invoices/8"},
        {"to": "/class"},
        {"content_type": "application/x-www-form-urlencoded", "body": "amount=7"},
        {"content_type": "text/plain", "body": b'{"amount": 7}'},
    ],
    ids=str,
)
def test_the_key_of_another_request_is_refused(post, other):
    post()

    refused = post(**other)

    assert (refused.status_code, refused.json()["code"]) == (409, "parameters_mismatch")
    assert invoices() == 1


def test_another_method_is_another_request(post, customer, key):
    post()
    headers = {"Authorization": str(customer.user.pk), "Idempotency-Key": key}

    refused = Client().put("/invoices", {"amount": 7}, "application/json", headers=headers)

    assert refused.json()["code"] == "parameters_mismatch"


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b'{"amount": 7, "of": [1, {"a": 1.50}]}', b'{"of":[1,{"a":1.5}],"amount":7.0}'),
        (b'"text"', b' "text"'),
    ],
)
def test_json_is_compared_by_its_values(post, first, again):
    post(first)

    assert post(again).headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("body", [b"", b"\x00\xff", b"x" * 100_000])
def test_any_other_body_is_compared_by_its_bytes(post, body):
    post(body, content_type="application/octet-stream")

    assert post(body, content_type="application/octet-stream").status_code == 201
    assert post(body + b"!", content_type="application/octet-stream").status_code == 409


def test_files_are_compared_by_their_hash_and_read_whole_by_the_view(customer, key):
    seen = []

    def read(request):
        seen.append(request.FILES["scan"].read())

    now(read)
    headers = {"Authorization": str(customer.user.pk), "Idempotency-Key": key}

    def upload(content, name="scan.pdf"):
        scan = SimpleUploadedFile(name, content, "application/pdf")
        return Client().post("/invoices", {"amount": "7", "scan": scan}, headers=headers)

    large = b"%PDF" * 1_000_000

    assert upload(large).status_code == 201
    assert upload(large).headers["Idempotent-Replayed"] == "true"
    assert upload(large[:-1] + b"!").status_code == 409
    assert upload(large, "another.pdf").status_code == 409
    assert seen == [large]


def test_another_users_key_is_another_key(post, key):
    from idempotency.tests.conftest import Customer

    post()

    assert Customer().post({"amount": 7}, key, to="/invoices").status_code == 201
    assert invoices() == 2


def test_a_key_of_an_operation_is_refused(post, customer, key, ledger, settings):
    settings.ROOT_URLCONF = "idempotency.tests.bookshop"
    customer.send(key)
    settings.ROOT_URLCONF = __name__

    assert post().json()["code"] == "parameters_mismatch"


def test_after_the_retention_the_answer_is_gone(post):
    post()
    let_time_pass(timedelta(hours=73))
    reap(100)

    gone = post()

    assert (gone.status_code, gone.json()["code"]) == (410, "key_expired")
    assert invoices() == 1


# Without a key, without a user, without a change.


def test_without_a_key_it_is_refused(customer):
    refused = Client().post("/invoices", headers={"Authorization": str(customer.user.pk)})

    assert (refused.status_code, refused.json()["code"]) == (400, "idempotency_key_missing")
    assert_nothing_is_left()


def test_unless_the_key_is_not_required(customer):
    for _ in range(2):
        answer = Client().post("/freely", headers={"Authorization": str(customer.user.pk)})
        assert answer.status_code == 201

    assert (invoices(), IdempotencyKey.objects.count()) == (2, 0)


def test_a_key_that_is_none_is_refused_even_then(customer):
    headers = {"Authorization": str(customer.user.pk), "Idempotency-Key": "short"}

    assert Client().post("/freely", headers=headers).json()["code"] == "idempotency_key_invalid"


def test_who_asks_must_be_known(key):
    refused = Client().post("/invoices", headers={"Idempotency-Key": key})

    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert_nothing_is_left()


def test_who_is_logged_in_asks(customer, key):
    client = Client()
    client.force_login(customer.user)
    before = invoices()  # the session is one of those rows

    for _ in range(2):
        assert client.post("/invoices", headers={"Idempotency-Key": key}).status_code == 201

    assert invoices() == before + 1


def test_a_view_may_say_who_asks(customer, key):
    headers = {"X-Token": str(customer.user.pk), "Idempotency-Key": key}

    assert Client().post("/by-token", headers=headers).status_code == 201
    assert Client().post("/by-token", headers={"Idempotency-Key": key}).status_code == 401


def test_a_method_that_changes_nothing_is_left_alone(customer, key):
    assert Client().get("/class", headers={"Idempotency-Key": key}).json() == {"count": 0}
    assert not IdempotencyKey.objects.exists()


# Many at once.


@pytest.mark.parametrize("to", ["/invoices", "/asynchronously"])
def test_duplicates_wait_for_the_first_and_get_its_answer(post, elsewhere, to):
    first_is_in, go_on = threading.Event(), threading.Event()

    def wait(request):
        first_is_in.set()
        assert go_on.wait(10)

    now(wait)
    first = elsewhere(post, None, to)
    assert first_is_in.wait(10)
    others = [elsewhere(post, None, to) for _ in range(4)]
    go_on.set()
    answers = [answer.result() for answer in (first, *others)]

    assert {(answer.status_code, answer.content) for answer in answers} == {
        (201, first.result().content)
    }
    assert invoices() == 1


def test_one_that_waits_too_long_is_told_to_come_back(post, elsewhere, settings):
    settings.IDEMPOTENCY |= {"DUPLICATE_WAIT": timedelta(milliseconds=50)}
    first_is_in, go_on = threading.Event(), threading.Event()

    def wait(request):
        first_is_in.set()
        assert go_on.wait(10)

    now(wait)
    first = elsewhere(post)
    assert first_is_in.wait(10)
    refused = post()
    go_on.set()

    assert (refused.status_code, refused.json()["code"]) == (409, "request_in_progress")
    assert refused.headers["Retry-After"] == "1"
    assert first.result().status_code == 201


def test_where_the_first_fails_a_duplicate_that_waited_does_it(post, elsewhere):
    first_is_in, go_on = threading.Event(), threading.Event()

    def fail(request):
        first_is_in.set()
        assert go_on.wait(10)
        behaviour.clear()
        return HttpResponse(status=503)

    now(fail)
    first = elsewhere(post)
    assert first_is_in.wait(10)
    second = elsewhere(post)
    go_on.set()

    assert (first.result().status_code, second.result().status_code) == (503, 201)
    assert invoices() == 1


def test_the_view_has_the_projects_own_lock_timeout(post):
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        usual = cursor.fetchone()[0]
    now(shop.lock_timeout)

    assert post().json() == [usual]
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone()[0] == usual


# The project's own settings.


@pytest.fixture
def atomic_requests(settings):
    connection.settings_dict["ATOMIC_REQUESTS"] = True
    yield
    connection.settings_dict["ATOMIC_REQUESTS"] = False


@pytest.mark.usefixtures("atomic_requests")
def test_where_each_request_is_a_transaction_it_is_part_of_that(post, customer):
    first, again = post(), post()
    now(lambda _: HttpResponse(status=429))
    refused = customer.post({}, "a-key-of-a-request-that-is-refused", to="/invoices")

    assert first.content == again.content
    assert refused.status_code == 429
    assert (invoices(), IdempotencyKey.objects.count()) == (1, 1)
