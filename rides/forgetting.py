"""Forgetting a rider: what says who it was is erased, and what the books need stays.

The books need that there was a ride, what it cost, and what Stripe was paid and gave back; they
need no name, no place and no address. Audit records have none of these: they refer to the rows.
"""

from dataclasses import asdict, dataclass

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db.models import Model
from django.db.models.functions import Now

from idempotency.forgetting import forget_finished_requests, unfinished_requests
from idempotency.transactions import in_transaction
from rides.models import ApiKey, AuditRecord, Ride, User


class NotForgotten(Exception):
    """The user is not forgotten, or not yet; the message says why, and what to do."""


@dataclass(frozen=True)
class Forgotten:
    """How much was erased."""

    requests: int
    rides: int
    api_keys: int
    sessions: int


def forget(email_or_id: str) -> tuple[User, Forgotten]:
    """Erase who a rider was.

    The rider is deactivated first, so that nothing new begins. A request that was let in before and
    commits after is erased when this is called again. The customer at Stripe is Stripe's: it is
    named by the user's row, and is to be redacted there.

    Args:
        email_or_id: the rider's e-mail address, or their number, which stays.

    Raises: `NotForgotten`.
    """
    rider = _rider(email_or_id)
    User.objects.filter(pk=rider.pk, is_active=True).update(is_active=False)
    forgotten = in_transaction(lambda: _forget(rider.pk))
    rider.refresh_from_db()
    return rider, forgotten


def _rider(email_or_id: str) -> User:
    which = {"pk": int(email_or_id)} if email_or_id.isdecimal() else {"email": email_or_id.lower()}
    rider = User.objects.filter(**which).first()
    if rider is None:
        raise NotForgotten(f"There is no user {email_or_id}.")
    if rider.is_staff:
        raise NotForgotten(
            f"{email_or_id} is staff: what they decided is part of the record. Take is_staff from "
            "them first, if nothing speaks against it."
        )
    return rider


def _forget(user_id: int) -> Forgotten:
    rider = User.objects.select_for_update().get(pk=user_id)
    if left := unfinished_requests(user_id):
        raise NotForgotten(
            f"{left} of their requests are not finished, and what they need is kept until then. "
            "Nobody can log in as them or book any more. Look at the review list, and forget them "
            "again when those are finished."
        )
    keys = ApiKey.objects.filter(user=rider)
    _forget_in_admins_log(ApiKey, [row.pk for row in keys], "API key")
    _forget_in_admins_log(User, [user_id], f"user {user_id}")
    forgotten = Forgotten(
        requests=forget_finished_requests(user_id),
        rides=Ride.objects.filter(user=rider).update(
            **dict.fromkeys(("origin_ip", "origin_lat", "origin_lon", "target_lat", "target_lon"))
        ),
        api_keys=keys.delete()[0],
        sessions=_end_sessions(user_id),
    )
    if rider.forgotten_at is None:
        rider.set_unusable_password()
        User.objects.filter(pk=user_id).update(
            email=f"forgotten-{rider.public_id}@invalid",
            password=rider.password,
            last_login=None,
            forgotten_at=Now(),
        )
    AuditRecord.objects.create(
        action=AuditRecord.Action.USER_FORGOTTEN,
        data=asdict(forgotten),
        resource_id=user_id,
        resource_type="user",
        user=rider,
    )
    return forgotten


def _forget_in_admins_log(model: type[Model], ids: list[int], name: str) -> None:
    """Django's admin notes the name of what it changed."""
    LogEntry.objects.filter(
        content_type=ContentType.objects.get_for_model(model), object_id__in=map(str, ids)
    ).update(object_repr=name, change_message="")


def _end_sessions(user_id: int) -> int:
    ended = [
        session.pk
        for session in Session.objects.iterator()
        if session.get_decoded().get("_auth_user_id") == str(user_id)
    ]
    return Session.objects.filter(pk__in=ended).delete()[0]
