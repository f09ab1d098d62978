from typing import Any

from django.http import HttpRequest
from shop.models import Account


def account_of(request: HttpRequest) -> Any:
    return Account.objects.filter(name=request.headers.get("Authorization", "")).first()
