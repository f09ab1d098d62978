"""The view that every arrangement protects: it writes a payment, and then has happen what the
request's header `Happen` asks for."""

import os
import signal
import time
import uuid
from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from rest_framework.authentication import BaseAuthentication  # type: ignore[import-untyped]
from rest_framework.response import Response  # type: ignore[import-untyped]
from rest_framework.views import APIView  # type: ignore[import-untyped]

from bench.packages.arrangements import Arrangement

SECONDS_OF_A_SLOW_VIEW = 3


def user_of(request: Any) -> User | None:
    return User.objects.filter(username=request.headers.get("Authorization")).first()


def write_payment(user: str) -> dict[str, str]:
    """Write a payment of the user's, and return the answer's body, which no second run repeats."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO payment (payer) VALUES (%s)", [user])
    return {"payer": user, "run": str(uuid.uuid4())}


def pay(request: Any) -> Any:
    body = write_payment(request.headers["Authorization"])
    match request.headers.get("Happen"):
        case "killed in the view":
            kill_this_process()
        case "slow":
            time.sleep(SECONDS_OF_A_SLOW_VIEW)
        case "error":
            raise RuntimeError
        case "refused":
            return JsonResponse(body, status=402)
        case "a Response of REST framework":
            return Response(body, status=201)
    headers = {"Location": f"/payments/{body['run']}", "X-Shop": "ours"}
    answer = JsonResponse(body, status=201, headers=headers)
    answer.set_cookie("seen", "yes")
    return answer


class ByName(BaseAuthentication):
    def authenticate(self, request: Any) -> tuple[User, None] | None:
        user = user_of(request)
        return (user, None) if user else None


class Payments(APIView):
    authentication_classes = [ByName]

    def post(self, request: Any) -> Any:
        return pay(request)

    def get(self, request: Any) -> Any:
        """Tell how many payments there are."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM payment")
            ((count,),) = cursor.fetchall()
        return JsonResponse({"payments": count})


async def pay_asynchronously(request: HttpRequest) -> HttpResponse:
    body = await sync_to_async(write_payment)(request.headers["Authorization"])
    return JsonResponse(body, status=201)


def ending_after_the_view(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Be the innermost middleware: what `ATOMIC_REQUESTS` commits is committed here."""

    def middleware(request: HttpRequest) -> HttpResponse:
        answer = get_response(request)
        if request.headers.get("Happen") == "killed after the view":
            kill_this_process()
        return answer

    return middleware


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


arrangement: Arrangement = settings.ARRANGEMENT  # type: ignore[misc]
urlpatterns = [
    path("payments", arrangement.protect_class(Payments).as_view()),
    path("payments-async", arrangement.protect_function(pay_asynchronously)),
]
