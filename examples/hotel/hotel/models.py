import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models


class Guest(AbstractUser):
    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)


class Room(models.Model):
    name = models.CharField(max_length=100, unique=True)


class Trip(models.Model):
    guest = models.ForeignKey(Guest, on_delete=models.PROTECT)
    room = models.ForeignKey(Room, on_delete=models.PROTECT)
    flight = models.CharField(max_length=10)
    status = models.CharField(max_length=10, default="begun")
    room_booking = models.CharField(max_length=40, default="")
    ticket = models.CharField(max_length=40, default="")
    # Adoption.
    key = models.OneToOneField("idempotency.IdempotencyKey", null=True, on_delete=models.SET_NULL)
    # End of adoption.


class Wish(models.Model):
    guest = models.ForeignKey(Guest, on_delete=models.PROTECT)
    text = models.TextField()
