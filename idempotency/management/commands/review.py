import getpass
import json
from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.forms import Form

from idempotency.attempts import Outcome
from idempotency.exceptions import IdempotencyError, ReviewRefused
from idempotency.management.printing import ending_with_the_reader
from idempotency.models import IdempotencyKey
from idempotency.parameters import readable_parameters
from idempotency.review import decisions
from idempotency.review.decisions import Decision, said_of
from idempotency.review.forms import DECISIONS, DecisionForm
from idempotency.review.many import decide_on_each, keys_with_reason_like, reason_of
from idempotency.review.rows import find_open_row, open_rows, row_decisions
from idempotency.support.described import described
from idempotency.support.storable import escaped


class Command(BaseCommand):
    help = "List what waits for a person, requests and what stands beside them, and decide on it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", metavar="ACTION")
        actions.add_parser("list", help="Every request that waits for a person (the default).")
        show = actions.add_parser("show", help="Show one, and what the foreign system says.")
        show.add_argument("request", help="As the list names it, or its number.")
        for form in DECISIONS.values():
            self._add_decision(actions.add_parser(form.slug, help=form.consequence), form)
        for slug, row_form in row_decisions().items():
            decide = actions.add_parser(slug, help=row_form.consequence)
            decide.add_argument("row", help="As `list` names it.")
            decide.add_argument(
                "--reason", required=True, help=str(row_form.base_fields["reason"].help_text)
            )
            _add_reviewer(decide)

    def _add_decision(self, parser: ArgumentParser, form: type[DecisionForm]) -> None:
        said = "As `list` and `show` name it, such as 1450-3fa2c1d9."
        parser.add_argument("request", help=said, nargs=None if form.argument else "?")
        if form.argument is None:
            self._add_many(parser)
        for name, field in form.base_fields.items():
            if name == form.argument:
                parser.add_argument(name, help=str(field.help_text))
            elif name != "lease_token":
                default = {"default": field.initial} if field.initial else {"required": True}
                parser.add_argument(f"--{name}", help=str(field.help_text), **default)
        _add_reviewer(parser)

    def _add_many(self, parser: ArgumentParser) -> None:
        parser.add_argument("--all", action="store_true", help="Decide so on every request.")
        parser.add_argument(
            "--reason-like",
            default="",
            metavar="WORDS",
            help="With --all: on those only in whose reason or evidence the words stand.",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="With --all: list them, and decide nothing."
        )

    def handle(self, *, action: str | None, **options: Any) -> None:
        with ending_with_the_reader():
            if action in (None, "list"):
                self._list()
            elif action == "show":
                self._show(options["request"])
            elif action in row_decisions():
                self._decide_on_row(action, **options)

            elif options.get("all"):
                self._decide_on_all(str(action), options)
            else:
                self._decide(str(action), options)

    def _print(self, line: str) -> None:
        """Much of it was said by a client or a foreign system, and none of it may steer a terminal
        or begin a line.
        """
        self.stdout.write(escaped(line))

    def _list(self) -> None:
        count = 0
        for key in decisions.keys_under_review().select_related("user").iterator():
            count += 1
            self._print(
                f"{_name_of(key)}  since {key.needs_review_at:%Y-%m-%d %H:%M}  "
                f"{key.recovery_point}  attempts={key.attempt}  {key.last_error}"
            )
        rows = 0
        for waiting in open_rows():
            rows += 1
            self._print(f"{waiting.name}  since {waiting.since:%Y-%m-%d %H:%M}  {waiting.said}")
        self._print(f"needs_review={count}" + (f" beside={rows}" if rows else ""))

    def _show(self, name: str) -> None:
        key = _find(name)
        self._print(str(key))
        self._print(f"request         {_name_of(key)}")
        self._print(f"user            {key.user}")
        self._print(f"operation       {key.operation}")
        for name in ("path_kwargs", "request_params"):
            self._print(f"{name:<16}{json.dumps(readable_parameters(getattr(key, name)))}")
        for name in ("recovery_point", "foreign_key", "foreign_sent_at", "last_error"):
            self._print(f"{name:<16}{getattr(key, name)}")
        for entry in key.journal:
            self._print(f"  {entry.pop('at')}  {entry.pop('event')}  {json.dumps(entry)}")
        self._print(f"foreign system  {decisions.ask_foreign_system(key)}")

    def _decide_on_all(self, action: str, options: dict[str, Any]) -> None:
        if options["request"]:
            raise CommandError("Name one request, or say --all.")
        keys = list(keys_with_reason_like(options["reason_like"]))
        if options["dry_run"]:
            for key in keys:
                self._print(f"{_name_of(key)}  {reason_of(key)}")
            self._print(f"{action}={len(keys)} (nothing was done)")
            return
        refused = 0
        for key, is_done, said in decide_on_each(keys, partial(_carry_out, action, options)):
            refused += not is_done
            self._print(f"{_name_of(key)}  {said}")
        self._print(f"{action}={len(keys) - refused} refused={refused}")
        if refused:
            raise CommandError(f"{refused} of {len(keys)} decisions could not be carried out.")

    def _decide(self, action: str, options: dict[str, Any]) -> None:
        if not options["request"] or options.get("reason_like") or options.get("dry_run"):
            raise CommandError("Name one request, or say --all.")
        key = _find(options["request"])
        if not options["request"].startswith(_name_of(key)):
            raise CommandError(
                f"Say which request you have seen, as `review show {key.pk}` names it: another one "
                "may have its number after a failover."
            )
        try:
            outcome = _carry_out(action, options, key)
        except (ReviewRefused, IdempotencyError) as error:
            raise CommandError(described(error)) from error
        self._print(said_of(outcome))

    def _decide_on_row(
        self, action: str, *, row: str, reason: str, reviewer: str, **_: Any
    ) -> None:
        waiting = find_open_row(row)
        if waiting is None:
            raise CommandError(f"{row!r} does not wait for a decision.")
        form = row_decisions()[action]({"reason": reason, "state": waiting.state})
        if not form.is_valid():
            raise CommandError(_complaints(form))
        try:
            self._print(form.decide(waiting, reviewer=reviewer))
        except (ReviewRefused, IdempotencyError) as error:
            raise CommandError(described(error)) from error


def _add_reviewer(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--reviewer", default=getpass.getuser(), help="Who decides (default: %(default)s)."
    )


def _carry_out(action: str, options: dict[str, Any], key: IdempotencyKey) -> Outcome:
    """Raises: `CommandError` for words that the decision's form does not take; `ReviewRefused`, or
    the `IdempotencyError` with which the attempt ended.
    """
    form = DECISIONS[action]({**options, "lease_token": key.lease_token})
    if not form.is_valid():
        raise CommandError(_complaints(form))
    decision = Decision(
        key_id=key.pk,
        lease_token=key.lease_token,
        reviewer=options["reviewer"],
        reason=options["reason"],
    )
    return form.carry_out(decision)


def _name_of(key: IdempotencyKey) -> str:
    """The request as it stands now: its number, and the beginning of its lease's token."""
    return f"{key.pk}-{key.lease_token.hex[:8]}"


def _find(name: str) -> IdempotencyKey:
    """Raises: `CommandError` where there is no such request, or it is not as it was named."""
    number, _, token = name.partition("-")
    if not (number.isascii() and number.isdigit()):
        raise CommandError(f"{name!r} names no request.")
    key = IdempotencyKey.objects.select_related("user").filter(pk=number).first()
    if key is None:
        raise CommandError(f"There is no request {number}.")
    if not key.lease_token.hex.startswith(token):
        raise CommandError(
            f"Request {number} is not as you saw it: somebody has worked on it, or it is another "
            f"request. Look at it again: it is {_name_of(key)} now."
        )
    return key


def _complaints(form: Form) -> str:
    return " ".join(f"{name}: {' '.join(map(str, said))}" for name, said in form.errors.items())
