"""The divers of the stories: what each asks for, from where, and what it is to be understood as."""

import uuid
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from idempotency.models import IdempotencyKey
from idempotency.testing import Answer
from idempotency.tests.school import user_in

BEGINS_AT = "2026-10-24T12:00:00.123456"


@dataclass(frozen=True)
class Place:
    """Where a request is made: what a middleware would make of its sender's profile."""

    language: str
    time_zone: str

    def entered(self) -> AbstractContextManager[None]:
        return user_in(self.language, self.time_zone)


HOME = Place("nl", "Europe/Amsterdam")
AT_THE_SERVICE = Place("en", "UTC")


@dataclass(eq=False)
class Diver:
    """A key, what its client sends with it, and what came back."""

    fields: dict[str, Any]
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    answers: list[Answer] = field(default_factory=list)
    row: IdempotencyKey | None = None
    enrolment: str = ""
    """The primary key of what the operation writes, once there has been a row."""
    began_in: Place | None = None
    """Where the request was made that the service began with: that is how it is understood."""

    @property
    def is_at_rest(self) -> bool:
        return self.row is None or self.row.is_finished or self.row.is_under_review

    def wanted(self) -> dict[str, str]:
        assert self.began_in is not None
        begins_at = datetime.fromisoformat(self.fields["begins_at"])
        if begins_at.tzinfo is None:
            begins_at = begins_at.replace(tzinfo=ZoneInfo(self.began_in.time_zone))
        return {
            "nickname": self.fields["nickname"],
            "born_on": "1990-01-31",
            "fee": self.fields["fee"].replace(",", "."),
            "diet": self.fields.get("diet", ""),
            "begins_at": begins_at.isoformat(),
            "ends_at": (begins_at + timedelta(hours=2)).isoformat(),
        }
