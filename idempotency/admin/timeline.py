"""What a key's page in the admin shows: its journal as a timeline, and the rows that refer to it.

The project's tables are not this app's, so it follows every relation that points at the key.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin import AdminSite
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from idempotency.admin.lists import link_to
from idempotency.console.picture import length_of
from idempotency.models import IdempotencyKey, JobDelivery, StagedJob

RELATED_ROWS_SHOWN = 20
AROUND = 5_000
KEY_CHARACTERS_SHOWN = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the timeline; `pause_seconds` is the time since the line above."""

    at: datetime
    pause_seconds: float
    starts_attempt: bool
    facts: dict[str, Any]

    @property
    def pause(self) -> str:
        """The pause in words: to the millisecond, but for one of a minute and more."""
        if self.pause_seconds < 60:
            return f"{self.pause_seconds:.3f} s"
        return length_of(timedelta(seconds=self.pause_seconds))


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """A row that refers to the key, or was made for it."""

    kind: str
    link: SafeString
    remark: str = ""


def timeline_of(key: IdempotencyKey) -> Iterator[Entry]:
    """Yield the journal's entries, oldest first, with the pauses between them."""
    before, attempt = None, None
    for facts in key.journal:
        at = datetime.fromisoformat(facts["at"])
        yield Entry(
            at=at,
            pause_seconds=(at - (before or at)).total_seconds(),
            starts_attempt=facts["attempt"] != attempt,
            facts=facts,
        )
        before, attempt = at, facts["attempt"]


def traces_of(key: IdempotencyKey, site: AdminSite) -> Iterator[Trace]:
    """Yield what the key left: rows that point at it, what those lead to, and its jobs."""
    for relation in IdempotencyKey._meta.related_objects:
        rows = relation.related_model._base_manager.filter(**{relation.field.name: key})
        for row in rows.order_by("pk")[:RELATED_ROWS_SHOWN]:
            yield Trace(kind=str(row._meta.verbose_name), link=link_to(row))
            yield from _traces_beyond(row, site)
    yield from _jobs_of(key)
    yield Trace(kind="requests", link=_around(key))


def _around(key: IdempotencyKey) -> SafeString:
    """Return a link to the same user's requests around that time: by the numbers of keys, which
    come in the order of time, so that no more is read than so many.
    """
    near = {"user": key.user_id, "id__gte": key.pk - AROUND, "id__lt": key.pk + AROUND}
    url = reverse("admin:idempotency_idempotencykey_changelist", query=near)
    return format_html('<a href="{}">of the same user around that time</a>', url)


def _traces_beyond(row: Any, site: AdminSite) -> Iterator[Trace]:
    """Ask the row's own admin what else belongs to the key's story, if it has a `traces_of`."""
    if site.is_registered(type(row)):
        row_admin = site.get_model_admin(type(row))
        yield from getattr(row_admin, "traces_of", lambda _: ())(row)


def _jobs_of(key: IdempotencyKey) -> Iterator[Trace]:
    job_ids = [job_id for facts in key.journal for job_id in facts.get("jobs", ())]
    staged = {str(job.job_id): job for job in StagedJob.objects.filter(job_id__in=job_ids)}
    owed = {str(job.job_id): job for job in JobDelivery.objects.filter(job_id__in=job_ids)}
    for job_id in job_ids:
        if job_id in staged:
            yield Trace(kind="job", link=link_to(staged[job_id]), remark=_staged(staged[job_id]))
        elif job_id in owed:
            delivery = owed[job_id]
            remark = "set aside" if delivery.set_aside_at else "handed over, not done yet"
            yield Trace(kind="job", link=link_to(delivery), remark=remark)
        else:
            yield Trace(kind="job", link=SafeString(job_id), remark="done")


def _staged(job: StagedJob) -> str:
    return f"staged, not before {job.run_after:%Y-%m-%d %H:%M:%S}" if job.run_after else "staged"


def shortened(key: str) -> str:
    """Return the beginning of a client's key: enough to tell it from others in a list."""
    if len(key) <= KEY_CHARACTERS_SHOWN:
        return key
    return f"{key[:KEY_CHARACTERS_SHOWN]}…"
