"""What takes the money of a charge back, as Stripe's ledger shows it: read by its own time, or by
its id, each with its charge. Nothing here changes anything at Stripe.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Self, TypeVar

from rides.payments.asking import find, pages, patient
from rides.payments.shapes import LATEST, LedgerCharge, is_amount, is_id, unexpected
from rides.payments.statuses import Outcome

CURRENCY = re.compile("[a-z]{3}")
PAGE = 50  # each with its charge: some 200 KB of the 1 MiB that an answer may have


@dataclass(frozen=True, kw_only=True, slots=True)
class Reversal:
    """What a refund and a dispute have in common, in minor units of `currency`."""

    KIND: ClassVar[str]
    STATUSES: ClassVar[Mapping[str, Outcome]]
    REASON: ClassVar[str] = "reason"
    """The field that says why, to whoever is to decide about it."""

    id: str
    status: str
    amount_cents: int
    currency: str
    payment_intent_id: str | None
    charge_id: str | None
    reason: str
    created_at: datetime
    metadata: dict[str, Any]
    charge: LedgerCharge | None
    """Where it was read with its charge."""

    @property
    def outcome(self) -> Outcome:
        return self.STATUSES[self.status]

    @classmethod
    def service(cls) -> Any:
        """Return the service of Stripe's client that lists and retrieves these objects."""
        raise NotImplementedError

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """Raises: NeedsReview."""
        created: Any = found.get("created")
        charge: Any = found.get("charge")
        expanded = LedgerCharge.of(charge) if isinstance(charge, dict) else None
        charge_id = expanded.id if expanded else charge
        reason: Any = found.get(cls.REASON) or found.get("reason") or ""
        fits = (
            is_id(found.get("id"))
            and found.get("status") in cls.STATUSES
            and is_amount(found.get("amount"))
            and isinstance(found.get("currency"), str)
            and CURRENCY.fullmatch(found["currency"])
            and isinstance(reason, str)
            and is_amount(created)
            and created < LATEST
            and isinstance(found.get("metadata") or {}, dict)
            and all(
                each is None or is_id(each) for each in (found.get("payment_intent"), charge_id)
            )
        )
        if not fits:
            raise unexpected(
                f"A {cls.KIND} is not what was asked for.",
                **{cls.KIND: found.get("id"), "status": found.get("status")},
            )
        return cls(
            id=found["id"],
            status=found["status"],
            amount_cents=found["amount"],
            currency=found["currency"],
            payment_intent_id=found.get("payment_intent"),
            charge_id=charge_id,
            reason=reason,
            created_at=datetime.fromtimestamp(created, UTC),
            metadata=found.get("metadata") or {},
            charge=expanded,
        )


Kind = TypeVar("Kind", bound=Reversal)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown(Generic[Kind]):
    """What Stripe shows, before it is judged. Whose it is, its charge and its metadata say; what
    another application has there need not fit anything of ours.
    """

    kind: type[Kind]
    found: dict[str, Any]
    charge: LedgerCharge | None

    @classmethod
    def of(cls, kind: type[Kind], found: dict[str, Any]) -> Self:
        """Raises: NeedsReview, where its charge is not what a charge looks like."""
        charge: Any = found.get("charge")
        expanded = LedgerCharge.of(charge) if isinstance(charge, dict) else None
        return cls(kind=kind, found=found, charge=expanded)

    @property
    def id(self) -> str:
        return str(self.found["id"])

    @property
    def metadata(self) -> dict[str, Any]:
        metadata: Any = self.found.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    def judged(self) -> Kind:
        """Raises: NeedsReview, where it does not fit, or has a status that is not documented."""
        return self.kind.of(self.found)


def reversals_between(
    kind: type[Kind], start: datetime, end: datetime
) -> Iterator[list[Shown[Kind]]]:
    """Yield what was made from `start` to before `end`, newest first, in pages.

    Raises: Indeterminate, NeedsReview.
    """
    created = {"gte": int(start.timestamp()), "lt": int(end.timestamp())}
    expand = ["data.charge"]
    listed = pages(patient(kind.service().list), limit=PAGE, created=created, expand=expand)
    for page in listed:
        yield [Shown.of(kind, each) for each in page]


def find_reversal(kind: type[Kind], object_id: str) -> Kind | None:
    """Return what Stripe has under an id now, or None.

    Raises: Indeterminate, NeedsReview.
    """
    found = find(kind.service().retrieve, object_id, expand=["charge"])
    return None if found is None else kind.of(found)


def shown_reversal(kind: type[Kind], object_id: str) -> Shown[Kind] | None:
    """Return what Stripe shows under an id now, or None: it may be another application's.

    Raises: Indeterminate, NeedsReview.
    """
    found = find(kind.service().retrieve, object_id, expand=["charge"])
    return None if found is None else Shown.of(kind, found)


def shown_reversals_of(kind: type[Kind], charge_id: str) -> list[Shown[Kind]]:
    """Return what Stripe shows of a charge.

    Raises: Indeterminate, NeedsReview.
    """
    listed = pages(kind.service().list, limit=PAGE, charge=charge_id, expand=["data.charge"])
    return [Shown.of(kind, each) for page in listed for each in page]


def reversals_by_id(
    kind: type[Kind], object_ids: Iterable[str]
) -> Iterator[tuple[str, Shown[Kind] | None]]:
    """Yield each id with what Stripe has under it now, or None; one call for each.

    Raises: Indeterminate, NeedsReview.
    """
    retrieve = patient(kind.service().retrieve)
    for object_id in object_ids:
        found = find(retrieve, object_id, expand=["charge"])
        if found is None:
            yield object_id, None
        else:
            shown = Shown.of(kind, found)
            shown.judged()  # it is ours: a row has it
            yield object_id, shown
