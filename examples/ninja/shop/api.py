import math
from typing import Annotated

from idempotency import IdempotencyError
from ninja import Header, NinjaAPI
from ninja.errors import AuthenticationError, HttpError, Throttled, ValidationError
from ninja.security import HttpBearer
from ninja.throttling import AuthRateThrottle

from shop.models import Token
from shop.operations import PlaceOrder
from shop.schemas import Confirmation, Error, OrderIn


class Bearer(HttpBearer):
    def authenticate(self, request, token):
        found = Token.objects.select_related("user").filter(key=token).first()
        return found and found.user


api = NinjaAPI(title="Shop", version="1", auth=Bearer(), throttle=AuthRateThrottle("20/m"))


# Adoption.
REPLAYED = {"headers": {"Idempotent-Replayed": {"schema": {"type": "boolean"}}}}
RETRY_AFTER = {"headers": {"Retry-After": {"schema": {"type": "integer"}}}}


@api.post(
    "/orders",
    response={201: Confirmation, frozenset([400, 401, 402, 409, 422, 429, 503]): Error},
    openapi_extra={
        "responses": {
            **dict.fromkeys([201, 402], REPLAYED),
            **dict.fromkeys([409, 429, 503], RETRY_AFTER),
        }
    },
)
def place_order(request, order: OrderIn, key: Annotated[str, Header(alias="Idempotency-Key")]):
    return PlaceOrder.call(user=request.auth, key=key, params=order.model_dump(), request=request)


@api.exception_handler(IdempotencyError)
def say_what_is_with_the_key(request, error):
    body = {"code": error.code, "message": error.message, "retryable": error.retryable}
    return answer(request, error.status, body, error.headers)


# End of adoption.


# The form that every error of this API has: `{"code", "message", "retryable"}`.


@api.exception_handler(AuthenticationError)
def say_who_are_you(request, error):
    return answer(request, 401, refusal("unauthenticated", "Who are you?"))


@api.exception_handler(Throttled)
def say_wait(request, error):
    body = refusal("throttled", "That is too often.", retryable=True)
    return answer(request, 429, body, {"Retry-After": str(math.ceil(error.wait or 1))})


@api.exception_handler(ValidationError)
def say_what_is_wrong(request, error):
    said = " ".join(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors)
    return answer(request, 422, refusal("parameters_invalid", said))


@api.exception_handler(HttpError)
def say_what_was_raised(request, error):
    return answer(request, error.status_code, refusal("invalid", str(error)))


def refusal(code, message, *, retryable=False):
    return {"code": code, "message": message, "retryable": retryable}


def answer(request, status, body, headers=None):
    response = api.create_response(request, body, status=status)
    for name, text in (headers or {}).items():
        response.headers[name] = text
    return response
