"""The names of the app's permissions that are none of Django's own, and what is recorded."""

from typing import Any

SEES_PERSONAL_DATA = "idempotency.see_personal_data"
LOOKED = "Looked at personal data."


def may_see_personal_data(user: Any) -> bool:
    return bool(user.has_perm(SEES_PERSONAL_DATA))
