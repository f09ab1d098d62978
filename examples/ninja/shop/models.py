from django.conf import settings
from django.db import models


class Token(models.Model):
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    key = models.CharField(max_length=40, unique=True)


class Order(models.Model):
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    book = models.CharField(max_length=100)
    copies = models.PositiveIntegerField()
    payment = models.CharField(max_length=40, default="")
    # Adoption.
    key = models.OneToOneField("idempotency.IdempotencyKey", null=True, on_delete=models.SET_NULL)
    # End of adoption.
