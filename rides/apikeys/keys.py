"""Make, check and revoke API keys: `rr_<mode>_<cell>_<prefix>_<secret>`.

The mode is Stripe's, so that a test key never books for money. The cell is the installation that
has the rider; it is 1 until there are more.
"""

import hashlib
import hmac
import re
import secrets
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.db.models import BooleanField, DateField, ExpressionWrapper, Q
from django.db.models.functions import Cast, Now

from rides import payments
from rides.apikeys.rows import ApiKey
from rides.models import User

KEY = re.compile(r"rr_(test|live)_([1-9][0-9]{0,3})_([0-9a-f]{12})_([0-9a-f]{64})")
NOBODYS = hashlib.sha256(b"").hexdigest()
"""What a secret is compared with where no key has the prefix: it costs the same time."""

IS_VALID = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))


def issue_key(user: User, name: str, *, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    """Make a key for a rider. The text of it is in the result, and nowhere else, ever.

    Args:
        name: what the key is for, for people.
        expires_at: from when on it opens nothing; never without one.
    """
    prefix, secret = secrets.token_hex(6), secrets.token_hex(32)
    row = ApiKey.objects.create(
        user=user, name=name, prefix=prefix, sha256=_hash(secret), expires_at=expires_at
    )
    return row, f"rr_{_mode()}_{settings.CELL}_{prefix}_{secret}"


def revoke_key(prefix: str) -> bool:
    """Have a key open nothing from now on. Return whether there was one that did."""
    return bool(ApiKey.objects.filter(prefix=prefix, revoked_at=None).update(revoked_at=Now()))


def rider_with_key(token: str) -> User | None:
    """Return the rider whose key it is, or None; one SELECT, and once a day a write.

    An unknown key, a wrong one and a revoked one are told apart by nothing, not by time either.
    """
    found = KEY.fullmatch(token)
    if not found:
        return None
    mode, cell, prefix, secret = found.groups()
    row = _find(prefix)
    is_the_secret = hmac.compare_digest(_hash(secret), row.sha256 if row else NOBODYS)
    is_ours = (mode, cell) == (_mode(), str(settings.CELL))
    if row is None or not (is_the_secret and is_ours and row.is_valid and _may_book(row.user)):
        return None
    if row.last_used_on != row.today:
        _note_use(row)
    return row.user


def _find(prefix: str) -> Any:
    return (
        ApiKey.objects.select_related("user")
        .annotate(
            is_valid=ExpressionWrapper(IS_VALID, output_field=BooleanField()),
            today=Cast(Now(), DateField()),
        )
        .filter(prefix=prefix)
        .first()
    )


def _note_use(row: ApiKey) -> None:
    """A database that cannot be written to now keeps nobody out: the request says what it lacks."""
    try:
        ApiKey.objects.filter(pk=row.pk).update(last_used_on=Cast(Now(), DateField()))
    except DatabaseError:
        return


def _may_book(user: User) -> bool:
    return user.is_active and user.stripe_customer_id is not None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _mode() -> str:
    return "live" if payments.is_live() else "test"
