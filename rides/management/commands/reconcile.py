"""`manage.py reconcile`: what a finance person runs at night, fault tests at their end, and an
operator after a loss of commits.
"""

import getpass
import json
import logging
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from tqdm import tqdm

from idempotency import conf
from idempotency.exceptions import Indeterminate, NeedsReview
from idempotency.management.printing import ending_with_the_reader
from idempotency.support.described import described
from idempotency.support.storable import escaped, storable_json_text
from rides import payments
from rides.clocks import clock_warnings
from rides.reconciliation.comparing import Reconciled, reconcile
from rides.reconciliation.going_back import REFUND_MAY_FAIL_FOR, GoingBack
from rides.reconciliation.position import (
    held_back,
    keep_position,
    kept_position,
    position_after,
)
from rides.reconciliation.refunding import RefundRefused, refund_unclaimed
from rides.webhooks.receiving import remove_old_events

logger = logging.getLogger(__name__)

DEFAULT_RANGE = timedelta(hours=24)


def moment(text: str) -> datetime:
    """Read a date or a time in ISO 8601; in UTC, unless it says otherwise."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(
            f"{text!r} is not a date or time such as 2026-11-24T08:00"
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class Command(BaseCommand):
    """Exits with 0 where everything agrees, 1 where something is off, 2 where it can't be known."""

    help = (
        "Compare Stripe's charges with the rides, both ways, and list what is off. "
        "Exits with 1 if anything is. With --refund: refund one charge that no ride has."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        beginning = parser.add_mutually_exclusive_group()
        beginning.add_argument(
            "--from",
            dest="start",
            type=moment,
            metavar="TIME",
            help="ISO 8601, in UTC unless it says otherwise (default: 24 hours before --to).",
        )
        beginning.add_argument(
            "--since",
            type=moment,
            metavar="TIME",
            help="After a loss of commits: the last one that was kept. Looks further on both "
            "sides, by what Stripe's clock may differ.",
        )
        beginning.add_argument(
            "--since-last",
            action="store_true",
            help="From where the last such run ended, however long ago. For every night.",
        )
        parser.add_argument(
            "--all-open",
            action="store_true",
            help="Ask Stripe for every refund and dispute that is not settled, or has not ended "
            "there, whatever its age, too. --since-last does so by itself.",
        )
        parser.add_argument(
            "--to", dest="end", type=moment, metavar="TIME", help="Not included (default: now)."
        )
        parser.add_argument("--json", action="store_true", dest="as_json", help="Print JSON.")
        parser.add_argument(
            "--refund", metavar="CHARGE", help="Refund this charge (ch_…), which no ride has."
        )
        parser.add_argument("--reason", default="", help="Why; for the record.")
        parser.add_argument(
            "--reviewer", default=getpass.getuser(), help="Who decides (default: %(default)s)."
        )

    def handle(
        self, *, start: datetime | None, end: datetime | None, as_json: bool, **options: Any
    ) -> None:
        for warning in clock_warnings():
            logger.warning("clocks differ: %s", warning)
        if options["refund"] is not None:
            self.refund(options["refund"], options["reason"], options["reviewer"])
            return
        until = end or database_time()
        start, end = range_of(start, until, options)
        if start >= end:
            raise CommandError(f"--from {start} is not before --to {end}.", returncode=2)
        position = position_after(until)
        try:
            report = look(start, end, **options)
        except (Indeterminate, NeedsReview) as error:
            raise CommandError(
                f"Stripe did not show its ledger: {said_of(error)}", returncode=2
            ) from error
        with ending_with_the_reader():
            for line in [as_json_text(start, end, report)] if as_json else lines(report):
                self.stdout.write(escaped(line))  # what stands at Stripe may say anything
        if options["since_last"]:
            keep_position(held_back(position, until, report.under_way_since))
            remove_old_events()
        if report.discrepancies:
            raise CommandError(f"{len(report.discrepancies)} off, from {start} to {end}.")

    def refund(self, charge_id: str, reason: str, reviewer: str) -> None:
        try:
            self.stdout.write(refund_unclaimed(charge_id, reason=reason, reviewer=reviewer))
        except RefundRefused as error:
            raise CommandError(f"Not refunded. {error}") from error
        except (Indeterminate, NeedsReview) as error:
            raise CommandError(
                f"It is not known whether it was refunded: {described(error)}"
            ) from error


def look(
    start: datetime, end: datetime, *, since_last: bool, all_open: bool, **_: Any
) -> Reconciled:
    """Compare charges and rides, and then look at what takes the money of rides back.

    Raises: Indeterminate, NeedsReview, where Stripe does not show its ledger.
    """
    with tqdm(unit=" charges and rides", disable=None) as progress:
        report = reconcile(start, end, advance=progress.update)
    goes_back = GoingBack(report)
    may_have_failed_since = start - REFUND_MAY_FAIL_FOR if since_last else start
    goes_back.look_at(payments.Refund, may_have_failed_since, end)
    goes_back.look_at(payments.Dispute, start, end)
    if since_last or all_open:
        goes_back.look_at_open_rows()
    goes_back.finish()
    return report


def said_of(error: Indeterminate | NeedsReview) -> str:
    """Return why Stripe's ledger is not known, and of which object that is."""
    if isinstance(error, NeedsReview):
        return f"{described(error)} {storable_json_text(error.evidence)}"
    return described(error)


def range_of(
    start: datetime | None, end: datetime, options: dict[str, Any]
) -> tuple[datetime, datetime]:
    """Return the range that the options ask for, as far as it reaches by Stripe's clock."""
    kept_until = options["since"] or (kept_position() if options["since_last"] else None)
    if kept_until:
        return since(kept_until, end)
    return start or end - DEFAULT_RANGE, end


def since(kept_until: datetime, now: datetime) -> tuple[datetime, datetime]:
    """Return the range since a moment, with what Stripe's clock may differ on both sides."""
    difference = conf.current().provider_clock_difference
    return kept_until - difference, now + difference


def database_time() -> datetime:
    """Return the time by the clock that dates rides, rounded up to whole seconds as Stripe's."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT date_trunc('second', clock_timestamp()) + interval '1 second'")
        at: datetime = cursor.fetchone()[0]
        return at


def lines(report: Reconciled) -> Iterator[str]:
    """Yield the table of what is off, and a line with what was compared."""
    if report.discrepancies:
        yield f"{'what':<25}{'ride':>10}  {'charge':<30}detail"
    for off in report.discrepancies:
        yield f"{off.kind:<25}{off.ride_id or '-':>10}  {off.charge_id or '-':<30}{off.detail}"
    yield (
        f"charges={report.charges} rides={report.rides} open_requests={report.open_requests} "
        f"others={report.others} refunds={report.refunds} disputes={report.disputes} "
        f"open_rows={report.open_rows} discrepancies={len(report.discrepancies)}"
    )


def as_json_text(start: datetime, end: datetime, report: Reconciled) -> str:
    told = {"from": start, "to": end, **asdict(report)}
    return json.dumps(told, default=datetime.isoformat)
