"""`@idempotent` behind Django REST framework and Django Ninja, sync and async."""

import uuid
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.models import Session
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import AsyncClient, Client
from django.test.client import encode_multipart
from django.urls import path
from django.utils import timezone
from ninja import NinjaAPI, Schema, Status
from ninja.decorators import decorate_view
from ninja.errors import HttpError
from rest_framework import routers, serializers, viewsets
from rest_framework.authentication import BaseAuthentication
from rest_framework.decorators import action, api_view, authentication_classes
from rest_framework.exceptions import AuthenticationFailed, ValidationError
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from idempotency import idempotent
from idempotency.models import IdempotencyKey
from idempotency.tests.bookshop import customer_of
from idempotency.tests.invoices import invoices, write_invoice

pytestmark = pytest.mark.django_db(transaction=True)

JSON = "application/json"


class ByNumber(BaseAuthentication):
    def authenticate(self, request: Any) -> Any:
        user = customer_of(request)
        if user is None:
            raise AuthenticationFailed
        return user, None

    def authenticate_header(self, request: Any) -> str:
        return "Number"


class Never(BaseThrottle):
    def allow_request(self, request: Any, view: Any) -> bool:
        return "busy" not in request.data


class Invoice(serializers.Serializer[Any]):
    amount = serializers.IntegerField()


def written(amount: int) -> dict[str, Any]:
    number = write_invoice()
    if amount < 0:
        raise ValidationError({"amount": ["must be positive"]})
    return {"number": number, "amount": amount}


class InvoiceView(APIView):
    authentication_classes = (ByNumber,)
    renderer_classes = (JSONRenderer,)
    throttle_classes = (Never,)

    @idempotent
    def post(self, request: Any) -> Response:
        sent = Invoice(data=request.data)
        sent.is_valid(raise_exception=True)
        headers = {"Location": "/drf/7"}
        return Response(written(sent.validated_data["amount"]), status=201, headers=headers)


class Scans(APIView):
    authentication_classes = (ByNumber,)
    renderer_classes = (JSONRenderer,)

    @idempotent
    def post(self, request: Any) -> Response:
        size = len(request.data["scan"].read())
        return Response({"number": write_invoice(), "size": size}, status=201)

    put = post


class InvoiceViewSet(viewsets.ViewSet):
    authentication_classes = (ByNumber,)
    renderer_classes = (JSONRenderer,)

    @idempotent
    def create(self, request: Any) -> Response:
        return Response(written(request.data["amount"]), status=201)

    @action(detail=True, methods=["post"])
    @idempotent
    def copy(self, request: Any, pk: str) -> Response:
        return Response({"of": pk, **written(request.data["amount"])}, status=201)


@api_view(["POST"])
@authentication_classes([ByNumber])
@idempotent
def invoice_function(request: Any) -> Response:
    return Response(written(request.data["amount"]), status=201)


api = NinjaAPI(urls_namespace="idempotent")


class InvoiceIn(Schema):
    amount: int


@api.post("/invoices", response={201: dict[str, Any]})
@decorate_view(idempotent)
def ninja_invoice(request: Any, sent: InvoiceIn) -> Any:
    number = write_invoice()
    if sent.amount < 0:
        raise HttpError(422, "must be positive")
    return Status(201, {"number": number, "amount": sent.amount})


@api.post("/async-invoices", response={201: dict[str, Any]})
@decorate_view(idempotent)
async def async_ninja_invoice(request: Any, sent: InvoiceIn) -> Any:
    number = str(uuid.uuid4())
    await Session.objects.acreate(session_key=number, expire_date=timezone.now())
    if sent.amount < 0:
        raise HttpError(422, "must be positive")
    return Status(201, {"number": number, "amount": sent.amount})


@api.post("/wrong")
@idempotent
def undecorated_invoice(request: Any, sent: InvoiceIn) -> Any:
    return {"number": write_invoice()}


router = routers.SimpleRouter()
router.register("viewset", InvoiceViewSet, basename="invoice")

urlpatterns = [
    path("drf", InvoiceView.as_view()),
    path("function", invoice_function),
    path("scans", Scans.as_view()),
    path("ninja/", api.urls),
    *router.urls,
]

EVERYWHERE = [
    *("/drf", "/viewset/", "/viewset/7/copy/", "/function"),
    *("/ninja/invoices", "/ninja/async-invoices"),
]


def assert_nothing_is_left() -> None:
    assert (invoices(), IdempotencyKey.objects.count()) == (0, 0)


@pytest.mark.parametrize("to", EVERYWHERE)
def test_behind_a_framework_a_retry_gets_the_first_answer(customer, key, to):
    first, again = (customer.post({"amount": 7}, key, to=to) for _ in range(2))

    assert first.status_code == again.status_code == 201
    assert first.json()["amount"] == 7
    assert first.content == again.content
    assert first.headers["Content-Type"] == again.headers["Content-Type"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert invoices() == 1


@pytest.mark.parametrize("to", EVERYWHERE)
def test_an_exception_leaves_nothing_whatever_is_made_of_it(customer, key, to):
    refused = customer.post({"amount": -7}, key, to=to)

    assert refused.status_code in (400, 422)
    assert_nothing_is_left()


@pytest.mark.parametrize("to", EVERYWHERE)
def test_under_asgi_too_a_retry_gets_the_first_answer(customer, key, to):
    headers = {"Authorization": str(customer.user.pk), "Idempotency-Key": key}
    post = async_to_sync(AsyncClient().post)

    first, again = (post(to, {"amount": 7}, JSON, headers=headers) for _ in range(2))

    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert invoices() == 1


def test_what_the_framework_refuses_itself_leaves_nothing(customer, key):
    assert customer.post({"amount": 7, "busy": 1}, key, to="/drf").status_code == 429
    assert customer.post({"amount": "seven"}, key, to="/drf").status_code == 400
    assert_nothing_is_left()


def test_headers_of_the_framework_are_replayed(customer, key):
    customer.post({"amount": 7}, key, to="/drf")

    assert customer.post({"amount": 7}, key, to="/drf").headers["Location"] == "/drf/7"


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_file_is_compared_whatever_the_boundary_of_its_parts(customer, key, method):
    def upload(boundary: str, content: bytes) -> Any:
        scan = SimpleUploadedFile("scan.pdf", content, "application/pdf")
        headers = {"Authorization": str(customer.user.pk), "Idempotency-Key": key}
        return Client().generic(
            method,
            "/scans",
            encode_multipart(boundary, {"scan": scan}),
            f"multipart/form-data; boundary={boundary}",
            headers=headers,
        )

    assert upload("one", b"%PDF" * 100_000).json()["size"] == 400_000
    assert upload("another", b"%PDF" * 100_000).headers.get("Idempotent-Replayed") == "true"
    assert upload("one", b"%PDE" * 100_000).status_code == 409


def test_ninja_answers_a_wrong_body_the_same_again(customer, key):
    first, again = (customer.post({"amount": "x"}, key, to="/ninja/invoices") for _ in range(2))

    assert first.status_code == again.status_code == 422
    assert first.content == again.content
    assert again.headers.get("Idempotent-Replayed") == "true"


def test_below_the_route_of_ninja_the_decorator_says_where_it_belongs(customer, key):
    with pytest.raises(Exception, match="decorate_view"):
        customer.post({"amount": 7}, key, to="/ninja/wrong")

    assert_nothing_is_left()
