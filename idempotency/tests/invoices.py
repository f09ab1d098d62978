"""Views of a project that has no operations: each writes an invoice, and answers with it."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from django.contrib.sessions.models import Session
from django.core.files.base import ContentFile
from django.db import connection, transaction
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone
from django.views import View

from idempotency import idempotent

Behave = Callable[[HttpRequest], HttpResponse | None]
behaviour: dict[str, Behave] = {}
"""What a test has the view do after it has written its invoice."""


def write_invoice(data: bytes | str = b"") -> str:
    number = str(uuid.uuid4())
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    Session.objects.create(session_key=number, session_data=text, expire_date=timezone.now())
    return number


def invoices() -> int:
    return Session.objects.count()


def created(number: str) -> HttpResponse:
    answer = JsonResponse({"number": number}, status=201)
    answer.headers["Location"] = f"/invoices/{number}"
    answer.headers["X-Powered-By"] = "invoices"
    answer.set_cookie("seen", number)
    return answer


@idempotent
def create_invoice(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    number = write_invoice()
    answer = behaviour["now"](request) if "now" in behaviour else None
    return answer or created(number)


@idempotent(required=False, not_stored=[404])
def create_freely(request: HttpRequest) -> HttpResponse:
    return create_invoice.__wrapped__(request)


@idempotent
async def create_asynchronously(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0)
    number = str(uuid.uuid4())
    await Session.objects.acreate(session_key=number, expire_date=timezone.now())
    answer = behaviour["now"](request) if "now" in behaviour else None
    return answer or created(number)


class Invoices(View):
    @idempotent
    def post(self, request: HttpRequest) -> HttpResponse:
        return created(write_invoice())

    def get(self, request: HttpRequest) -> HttpResponse:
        return JsonResponse({"count": invoices()})


class AsyncInvoices(View):
    @idempotent
    async def post(self, request: HttpRequest) -> HttpResponse:
        number = str(uuid.uuid4())
        await Session.objects.acreate(session_key=number, expire_date=timezone.now())
        return created(number)


def by_token(request: HttpRequest) -> Any:
    from django.contrib.auth import get_user_model

    token = request.headers.get("X-Token", "")
    return get_user_model().objects.filter(pk=token).first() if token.isdecimal() else None


@idempotent(authenticate=by_token)
def create_by_token(request: HttpRequest) -> HttpResponse:
    return created(write_invoice())


def stream(request: HttpRequest) -> HttpResponse:
    return StreamingHttpResponse([b"a", b"b"])  # type: ignore[return-value]


def file(request: HttpRequest) -> HttpResponse:
    return FileResponse(ContentFile(b"%PDF"))  # type: ignore[return-value]


def template(request: HttpRequest) -> HttpResponse:
    template = engines["django"].from_string("<p>{{ amount }}</p>")
    return TemplateResponse(request, template, {"amount": 7}, status=201)


def roll_back(request: HttpRequest) -> None:
    transaction.set_rollback(True)


def lock_timeout(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        return JsonResponse(cursor.fetchone(), safe=False, status=201)


urlpatterns = [
    path("invoices", create_invoice),
    path("invoices/<int:number>", create_invoice),
    path("freely", create_freely),
    path("asynchronously", create_asynchronously),
    path("class", Invoices.as_view()),
    path("async-class", AsyncInvoices.as_view()),
    path("by-token", create_by_token),
]
