"""A view of the project's own: the key comes in a hidden field of a web form, and pressing Submit
twice still orders once."""

from datetime import timedelta

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from django.views import View

from idempotency.exceptions import IdempotencyError
from idempotency.http.bodies import Sent
from idempotency.http.errors import error_response
from idempotency.testing.clock import let_time_pass
from idempotency.tests.bookshop import Death, PlaceOrder, counted, customer_of, orders
from idempotency.workers.completing import complete_due_keys

pytestmark = pytest.mark.django_db(transaction=True)


def order_page(request):
    fields = request.POST.dict()
    try:
        key, user = fields.pop("key", ""), customer_of(request)
        return PlaceOrder.call(user=user, key=key, params=Sent(fields), request=request)
    except IdempotencyError as error:
        return error_response(error)


def show(request):
    return HttpResponse("Emma")


async def show_in_time(request):
    return HttpResponse("Emma")


class Shown(View):
    async def get(self, request):
        return HttpResponse("Emma")


urlpatterns = [
    path("page", order_page),
    path("sync", PlaceOrder.as_view(get=show)),
    path("async", PlaceOrder.as_view(get=show_in_time)),
    path("async-class", PlaceOrder.as_view(get=Shown.as_view())),
]


@pytest.fixture
def submit(customer, key, ledger):
    """Press Submit on one and the same page."""

    def submit(**changes):
        fields = {**customer.order, "key": key, **changes}
        return Client().post("/page", fields, headers={"Authorization": str(customer.user.pk)})

    return submit


def test_pressing_submit_twice_orders_once(submit, ledger):
    first, again = submit(), submit()

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(orders()) == len(ledger.payments) == 1


def test_the_fields_of_a_page_are_read_as_strictly(submit):
    assert submit(key="short").json()["code"] == "idempotency_key_invalid"
    assert submit(price_cents="").json()["code"] == "parameters_invalid"
    assert submit(colour="red").json()["code"] == "parameters_invalid"
    assert orders() == []


def test_the_completer_finds_the_operation_of_such_a_view(submit, ledger):
    with pytest.raises(Death):
        submit(dies_in="pay")
    let_time_pass(timedelta(seconds=300))

    assert counted(complete_due_keys(10)) == (1, 0)
    assert submit().headers["Idempotent-Replayed"] == "true"
    assert len(ledger.payments) == 1


@pytest.mark.parametrize("address", ["/sync", "/async", "/async-class"])
def test_what_is_read_at_an_operations_address_is_a_view_of_any_kind(address):
    assert Client().get(address).content == b"Emma"
    assert Client().head(address).status_code == 200
    assert Client().put(address).headers["Allow"] == "GET, HEAD, POST"
