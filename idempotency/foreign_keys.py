"""What a foreign system recognises a request by: derived from the request, never drawn.

A failover or a restore can lose a request's rows. Its client's retry then asks the foreign system
the same question all the same, because the question's key is made of nothing that was lost.
"""

from typing import Any
from uuid import UUID, uuid5

from django.core.exceptions import ImproperlyConfigured

from idempotency import conf
from idempotency.phases import ForeignPhase

DRAWN = 4
"""The version of a UUID that was drawn, as earlier releases had it; a derived one is version 5."""


def foreign_key_for(user: Any, idempotency_key: str) -> UUID:
    """Derive the foreign key of a user's request.

    Nested, so that no two users' texts can meet: a user's name and a client's key are never one
    text.
    """
    return uuid5(uuid5(_namespace(), _text_of(user)), idempotency_key)


def phase_key(foreign_key: UUID, phase: ForeignPhase) -> UUID:
    """Derive the key that one foreign phase of a request sends.

    By the first name that its recovery point ever had: a rename must not ask anew. A drawn key is
    sent as it is, because the release that drew it has already sent it so.
    """
    if foreign_key.version == DRAWN:
        return foreign_key
    return uuid5(foreign_key, phase.first_name)


def question_key(key: UUID, number: int) -> UUID:
    """Derive the key of a phase's question that a person has had asked anew; 0 is the first one."""
    return uuid5(key, str(number)) if number else key


def installation_mark() -> str:
    """What tells this installation's requests from another's at the same foreign system.

    It is to be sent with them, and never changes: the text of the namespace.
    """
    return str(_namespace())


def _namespace() -> UUID:
    namespace = conf.current().foreign_key_namespace
    if namespace is None:
        raise ImproperlyConfigured(
            "IDEMPOTENCY['FOREIGN_KEY_NAMESPACE'] is not set: without it a request has no foreign "
            "key."
        )
    return namespace


def _text_of(user: Any) -> str:
    field = conf.current().foreign_key_user_field
    value = getattr(user, field)
    if value in (None, ""):
        raise ImproperlyConfigured(
            f"FOREIGN_KEY_USER_FIELD names {field!r}, which is empty for the user of this request."
        )
    return str(value)
