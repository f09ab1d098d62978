import uuid

from django.conf import settings
from django.db import models


class Account(models.Model):
    """Who orders: a row with a name, and nothing of `django.contrib.auth`."""

    name = models.CharField(max_length=100, unique=True)
    public_id = models.UUIDField(default=uuid.uuid4, unique=True)
    is_authenticated = True

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    account = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    key = models.OneToOneField("idempotency.IdempotencyKey", on_delete=models.SET_NULL, null=True)
    book = models.CharField(max_length=100)
    payment_id = models.CharField(max_length=100, blank=True)
    ordered_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.book


class Receipt(models.Model):
    order = models.OneToOneField(Order, on_delete=models.CASCADE)

    def __str__(self) -> str:
        return f"receipt of {self.order_id}"


class Note(models.Model):
    text = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.text
