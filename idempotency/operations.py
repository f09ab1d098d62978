"""An operation: the work behind one endpoint, written as phases.

What an author writes and may override is here; an `Attempt` runs the phases.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, ClassVar, Self
from uuid import UUID

from django import forms
from django.apps import apps
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.functional import classproperty
from django.utils.module_loading import autodiscover_modules

from idempotency.exceptions import OutsideForeignPhase, Parked
from idempotency.foreign_keys import phase_key, question_key
from idempotency.http.calls import Params, call
from idempotency.http.views import View, view_for
from idempotency.models import IdempotencyKey
from idempotency.parameters import Parameters, keep_all, parameters_of
from idempotency.phases import AtomicPhase, ForeignPhase, Phase, Response, UndoPhase
from idempotency.support.afresh import copied
from idempotency.transactions import READ_COMMITTED


class Operation:
    """Subclass it, give it phases, mount `as_view()`.

    A phase finds what it needs on the operation: `key`, `user`, `params` (the form's cleaned
    data), `path_kwargs` (of its URL), and a foreign phase `foreign_key`, to be sent with its call.
    There is no request: the completer runs the same phases without one. `transient` holds the
    fields named in `transient_fields`, which are neither stored nor compared; it is empty when the
    completer runs the operation.

    `name` is stored with each key, and what the operation is found by. It is
    `<app label>.<ClassName>` unless the class has one written; when it changes, the former one goes
    into `renamed_from`. Both are the class's own: a subclass is another operation.
    """

    name: ClassVar[str]
    """What its keys name it by."""

    renamed_from: ClassVar[tuple[str, ...]] = ()
    """Former names, by which keys in flight may name it."""

    params_form: ClassVar[Any] = forms.Form
    """A form, a serializer of Django REST framework, or a pydantic model."""

    transient_fields: ClassVar[tuple[str, ...]] = ()
    """Fields of the form that are validated, and neither stored nor compared."""

    isolation: ClassVar[str] = READ_COMMITTED
    """Of its phases' transactions: `READ_COMMITTED`, or `SERIALIZABLE`."""

    key: IdempotencyKey
    """A copy, which no phase can change for the attempt."""

    phase_in_hand: ForeignPhase | None = None
    """The foreign phase that runs, or whose outcome is being committed."""

    def __init__(
        self,
        *,
        user: Any,
        params: Mapping[str, Any],
        transient: Mapping[str, Any] | None = None,
        path_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.user = user
        self.params = _unchangeable(params)
        self._sent_transient = transient or {}
        self.transient = copied(self._sent_transient)
        self.path_kwargs = _unchangeable(path_kwargs or {})

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = classproperty(_default_name)  # type: ignore[assignment]
        if "renamed_from" not in vars(cls):
            cls.renamed_from = ()

    @classmethod
    def is_named(cls, name: str) -> bool:
        """Whether keys of that name are this operation's, by its present name or a former one."""
        return name == cls.name or name in cls.renamed_from

    @classmethod
    def for_key(
        cls, key: IdempotencyKey, *, user: Any, transient: Mapping[str, Any] | None = None
    ) -> Self:
        """The operation of a stored key, with what its first request asked for."""
        return cls(
            user=user,
            params=parameters_of(key.request_params, cls.params_form, cls.transient_fields),
            transient=transient,
            path_kwargs=Parameters(key.path_kwargs),
        )

    def anew(self, key: IdempotencyKey) -> Self:
        """The operation of the same request, as no phase has touched it."""
        return self.for_key(key, user=key.user, transient=self._sent_transient)

    @property
    def foreign_key(self) -> UUID:
        """The key of the foreign phase in hand, for that phase to send and to ask by.

        For the phase itself, its look-up, `adopt` and `undo`, and for what is committed of its
        outcome. An atomic phase asks `foreign_key_at`.

        Raises: `OutsideForeignPhase` elsewhere.
        """
        if self.phase_in_hand is None:
            raise OutsideForeignPhase(
                "foreign_key is read outside of a foreign phase and its commit. Another phase says "
                "whose key it wants: foreign_key_at(recovery_point)."
            )
        phase = self.phase_in_hand
        is_asked = phase.starts_from(self.key.recovery_point)
        number = self.key.foreign_question if is_asked else 0
        return question_key(phase_key(self.key.foreign_key, phase), number)

    def foreign_key_at(self, recovery_point: str) -> UUID:
        """The key that the foreign phase at a recovery point sends, for a row that is to keep it.

        Raises: `OutsideForeignPhase` where no foreign phase starts from the point.
        """
        phase = self.phase_at(recovery_point)
        if not isinstance(phase, ForeignPhase):
            raise OutsideForeignPhase(f"No foreign phase starts from {recovery_point!r}.")
        return phase_key(self.key.foreign_key, phase)

    @classmethod
    def call(
        cls,
        *,
        user: Any,
        key: str,
        params: Params = None,
        path_kwargs: Mapping[str, Any] | None = None,
        request: HttpRequest | None = None,
    ) -> HttpResponse:
        """Answer a request as the view would: from another framework's view, a command, a job.

        Args:
            key: the client's key, or one that names the work: repeated, it gets the same answer.
            params: the fields as JSON has them, or a form's texts as a `QueryDict` or
                `Sent(texts)`.
            path_kwargs: what the view would find in its path.
            request: the HTTP request that it came by, if it did; for the key to say, and for its
                `Prefer: wait`.

        Raises: an `IdempotencyError` where the view would answer with one, by its `status`, `code`,
        `retryable`, `headers` and `message`; `CalledInsideTransaction` where a transaction is open.
        """
        return call(
            cls, user=user, key=key, params=params, path_kwargs=path_kwargs, request=request
        )

    def read_instances_anew(self) -> None:
        """Have each phase read the instances among the parameters for itself, so that none gets one
        as another phase left it in memory. A resumed attempt could not.
        """
        self.params, self.path_kwargs = self.params.afresh(), self.path_kwargs.afresh()

    @classmethod
    def as_view(cls, *, get: View | None = None) -> Callable[..., HttpResponseBase]:
        """The view to mount: `path("rides", CreateRide.as_view())`.

        Args:
            get: the view, sync or async, that answers GET and HEAD at the same address; without it
                they are a 405.
        """
        return view_for(cls, get)

    @classmethod
    @cache
    def phases(cls) -> tuple[Phase, ...]:
        """The phases in the order in which a request may come to them: that of their definition,
        those of base classes first; and then what undoes them, in reverse.
        """
        attributes: dict[str, Any] = {}
        for base in reversed(cls.__mro__):
            attributes.update(vars(base))
        found = [a for a in attributes.values() if isinstance(a, AtomicPhase | ForeignPhase)]
        undos = [phase for phase in found if isinstance(phase, UndoPhase)]
        return (*(phase for phase in found if phase not in undos), *reversed(undos))

    @classmethod
    def phases_until(cls, recovery_point: str) -> tuple[Phase, ...]:
        """The phases up to and with the one that starts from a recovery point."""
        phases = cls.phases()
        here = next(i for i, phase in enumerate(phases) if phase.starts_from(recovery_point))
        return phases[: here + 1]

    @classmethod
    def undo_after(cls, undo: UndoPhase) -> UndoPhase | None:
        """The undo that follows another one; None after the last."""
        later = cls.phases()[len(cls.phases_until(undo.recovery_point)) :]
        return next((phase for phase in later if isinstance(phase, UndoPhase)), None)

    @classmethod
    @cache
    def phase_at(cls, recovery_point: str) -> Phase | None:
        """The phase that starts from a recovery point."""
        return next((p for p in cls.phases() if p.starts_from(recovery_point)), None)

    # What an operation may override.

    def may_go_on(self) -> bool:
        """Override it to say whether the completer may go on without its client. By default what
        was begun goes on, whatever became of the user: the foreign system may have done its part.
        Where it returns False the request waits for a person, and nothing is called.
        """
        return True

    def clean_up(self) -> None:
        """Override it to undo local effects of a request that is too old to be finished. It runs in
        a transaction; afterwards the key waits for a person.
        """

    def cancelled(self, account: Any) -> Response:
        """An atomic phase, after all was undone: the final answer.

        Args:
            account: what the last `undo` returned, which is that of the first foreign phase.
        """
        return Response.error(
            409, "This request was cancelled: what was done for it was undone.", code="cancelled"
        )

    def record_pending(self, kept: Any) -> None:
        """Write down what came with a `Pending`, in the transaction that commits it. It may run
        again after a roll-back.

        Args:
            kept: what the foreign phase gave to the `Pending`.
        """

    def record_review(self, action: str, *, reviewer: str, reason: str) -> None:
        """Keep an audit record of a person's decision, in the decision's own transaction."""


def _default_name(operation: type[Operation]) -> str:
    app = apps.get_containing_app_config(operation.__module__)
    label = app.label if app else operation.__module__.partition(".")[0]
    return f"{label}.{operation.__name__}"


def _unchangeable(values: Mapping[str, Any]) -> Parameters:
    return values if isinstance(values, Parameters) else Parameters(keep_all(values))


# Finding an operation. A key has its name, so it may be mounted under one path, several, or none.


def all_operations() -> Iterator[type[Operation]]:
    """Yield every operation that has phases; a base class without any is not one itself."""
    return (operation for operation in _subclasses_of(Operation) if operation.phases())


def foreign_points() -> list[str]:
    """Return the recovery points, of all operations, from which a foreign phase starts."""
    return [
        phase.recovery_point
        for operation in all_operations()
        for phase in operation.phases()
        if isinstance(phase, ForeignPhase)
    ]


def operation_named(name: str) -> type[Operation]:
    """Return the operation that has the name, or had it once.

    Raises: `Parked` where this code has none, or more than one.
    """
    _import_operations(settings.ROOT_URLCONF)
    found = [each for each in all_operations() if each.is_named(name)]
    if len(found) == 1:
        return found[0]
    count = "More than one" if found else "No"
    raise Parked(f"{count} operation of this version of the service is named {name!r}.")


def operation_for(key: IdempotencyKey) -> Operation:
    """Return the operation of a stored key, with what its first request asked for.

    Raises: `Parked` where no operation of this code has the key's name.
    """
    return operation_named(key.operation).for_key(key, user=key.user)


def _subclasses_of(base: type[Operation]) -> Iterator[type[Operation]]:
    for operation in base.__subclasses__():
        yield operation
        yield from _subclasses_of(operation)


@cache
def _import_operations(urlconf: Any) -> None:
    """Import the modules that define operations: those of the URLs, and `operations` of each app.

    A worker has no other reason to import them.
    """
    if isinstance(urlconf, str):
        import_module(urlconf)
    autodiscover_modules("operations")
