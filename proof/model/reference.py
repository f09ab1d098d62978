"""What may become of a booking, in a few lines: the reference that the service is compared with.

A key has a state. Whatever is done to it takes it one *way*: the states on it, one after the other,
the last with the answer. Undisturbed it comes to the end of the way; who is interrupted stops
anywhere on it, with the lease or without. Apart from the machine, because this is the theory.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from idempotency import FINISHED, STARTED, conf, failures
from proof.model.states import (
    ANSWER_LOST,
    ASKING_CARD,
    BAD_CARD,
    DECLINES,
    FINE,
    NOT_DELIVERED,
    NOWHERE,
    REFUSED,
    SAVED_ERRORS,
    STRIPE_FORGETS,
    TAKES_DAYS,
    UNDER_WAY,
    Attempt,
    Ledger,
    Saved,
    State,
)
from rides.operations import CHARGE_CREATED, RESEND_WINDOW

Way = Iterator[tuple[State, str]]
ON_THE_WAY = ""
NO_ANSWER = "no answer"
TOLD_WHEN_INTERRUPTED = (
    *(NO_ANSWER, "internal_error", "database_unavailable", "request_in_progress"),
    "outcome_unknown",
)


def asked(state: State, request: str, attempt: Attempt) -> Way:
    """A client sends a request with the key."""
    yield state, ON_THE_WAY
    if state.point == NOWHERE:
        fresh = State(STARTED, attempt=1, is_leased=True, card=state.card, request=request)
        yield from worked_on(fresh, attempt)
    elif request != state.request:
        yield state, "parameters_mismatch"
    elif state.is_reaped:
        yield state, "key_expired"
    elif state.point == FINISHED:
        yield state, answer_of(state)
    elif state.is_under_review:
        yield state, "needs_review"
    elif state.waits:
        yield state, "pending"
    elif state.is_worked_on:
        yield state, "request_in_progress"
    else:
        yield from worked_on(claimed(state), attempt)


def asked_perhaps_early(state: State, request: str, attempt: Attempt) -> Iterator[Way]:
    """The same, where only the service knows whether it is time to ask about what is pending."""
    yield asked(state, request, attempt)
    if state.may_wait and request == state.request and not state.is_under_review:
        yield stays(state, "pending")


def gone_on_with(state: State, attempt: Attempt) -> Way:
    """A client that was frozen has the lease, or takes it by what it read of the key before: what
    is pending since is asked about early.
    """
    yield from worked_on(state, attempt)
    if state.is_free:
        yield from worked_on(claimed(state), attempt)


def completed(state: State, attempt: Attempt) -> Way:
    """The completer comes to the key; whether it is due is not for this model to say, but that what
    is pending is not asked about before its time.
    """
    yield state, ON_THE_WAY
    if state.is_free and not state.waits:
        yield from worked_on(claimed(state), attempt)


def reviewed(state: State, attempt: Attempt) -> Way:
    """A person has a request of the review list run again."""
    yield state, ON_THE_WAY
    if state.is_under_review and state.point in attempt.known_points:
        again = claimed(state)
        if state.was_refused and not state.is_pending:
            again = replace(again, since_sent=None, is_asked_anew=True)
        yield from worked_on(replace(again, was_refused=False), attempt)


def reaped(state: State) -> Way:
    """The reaper comes by: first the answer goes, then the row; nothing that is unfinished."""
    yield state, ON_THE_WAY
    settings = conf.current()
    if state.is_free and state.is_overdue:
        yield from put_before_a_person(claimed(state))
    elif state.point == FINISHED and state.since_claimed >= settings.retention:
        yield replace(state, is_reaped=True), ON_THE_WAY
        if state.since_claimed >= settings.tombstone_retention:
            yield State(card=state.card), ON_THE_WAY


def put_before_a_person(state: State) -> Way:
    yield state, ON_THE_WAY
    yield replace(let_go(state), is_under_review=True), ON_THE_WAY


def worked_on(state: State, attempt: Attempt) -> Way:
    """Whoever has the lease runs the operation from where the key stands."""
    yield state, ON_THE_WAY
    if state.point == STARTED:
        state = replace(reached(state, attempt.ride_point), since_sent=timedelta(0))
        yield state, ON_THE_WAY
    if state.point not in attempt.known_points:
        yield let_go(state), "parked"
        return
    if state.point != CHARGE_CREATED:
        if state.since_sent is None:
            state = replace(state, since_sent=timedelta(0), since_locked=timedelta(0))
            yield state, ON_THE_WAY
        ask = what_became_of if state.is_pending else paid_for
        state, outcome = ask(state, attempt)
        yield state, ON_THE_WAY
        if outcome is None:
            yield let_go(state), "outcome_unknown"
            return
        if outcome is Ledger.NOTHING:
            yield replace(let_go(state), is_under_review=True), "needs_review"
            return
        if outcome in UNDER_WAY:
            yield noted_as_pending(state), "pending"
            return
        if outcome is Ledger.PAID:
            yield reached(state, CHARGE_CREATED), ON_THE_WAY
    state = finished(state)
    yield state, answer_of(state)


def paid_for(state: State, attempt: Attempt) -> tuple[State, str | None]:
    """Sent, or looked up where it is too late for that; None where the outcome is not known. What
    Stripe refuses for ever is for a person, whatever it has of the ride.
    """
    assert state.since_sent is not None
    if not -conf.current().clock_tolerance <= state.since_sent < RESEND_WINDOW:
        return read(state, attempt)
    if attempt.weather in NOT_DELIVERED:
        return state, None
    if attempt.weather == REFUSED:
        return replace(state, was_refused=True), Ledger.NOTHING
    if state.is_asked_anew:
        return asked_anew(state, attempt)
    was_saved = state.saved
    if was_saved is Saved.NOTHING:
        state = executed(state, attempt)
    elif attempt.weather in SAVED_ERRORS:
        return state, None  # of the question that follows the repeated answer
    if attempt.weather in ANSWER_LOST:
        return state, None
    if state.saved is Saved.ANSWER:
        return state, state.ledger
    is_repeated = was_saved is Saved.ERROR  # so the key says nothing, but the ledger may
    return state, state.ledger if is_repeated and state.ledger is not Ledger.NOTHING else None


def read(state: State, attempt: Attempt) -> tuple[State, str | None]:
    """Asked what Stripe has, with nothing sent."""
    if attempt.weather in (*NOT_DELIVERED, *ANSWER_LOST, *SAVED_ERRORS):
        return state, None
    if attempt.weather == REFUSED:
        return replace(state, was_refused=True), Ledger.NOTHING
    return state, state.ledger


def what_became_of(state: State, attempt: Attempt) -> tuple[State, str | None]:
    """Asked about what is pending; given up where it was so for too long, and only as withdrawn:
    what a bank processes can't be.
    """
    if not state.is_given_up:
        return read(state, attempt)
    if attempt.weather in (*NOT_DELIVERED, "error_before"):
        return state, None
    if attempt.weather == REFUSED:
        return replace(state, was_refused=True), Ledger.NOTHING
    is_withdrawn = state.ledger is Ledger.ASKED
    if is_withdrawn:
        state = replace(state, ledger=Ledger.DECLINED)
    is_lost = attempt.weather in ANSWER_LOST or (is_withdrawn and attempt.weather == "error_after")
    return state, None if is_lost else state.ledger


def settled(state: State, *, succeeds: bool) -> Way:
    """The rider, or their bank, decides about a payment that is under way."""
    yield replace(state, ledger=Ledger.PAID if succeeds else Ledger.DECLINED), ON_THE_WAY


def asked_anew(state: State, attempt: Attempt) -> tuple[State, str | None]:
    """The weather strikes what makes the old key useless; then what that has led to is looked for,
    and only where there is nothing the new question is sent.
    """
    if attempt.weather in (*ANSWER_LOST, *SAVED_ERRORS):
        return state, None
    if state.ledger is Ledger.NOTHING:
        state = executed(state, replace(attempt, weather=FINE))
    return state, state.ledger


def executed(state: State, attempt: Attempt) -> State:
    """Stripe does it, and saves what it answers."""
    if attempt.weather == "error_before":
        return replace(state, saved=Saved.ERROR)
    if state.card == BAD_CARD or attempt.weather in DECLINES:
        return replace(state, saved=Saved.ANSWER, ledger=Ledger.DECLINED)
    saved = Saved.ERROR if attempt.weather == "error_after" else Saved.ANSWER
    ledger = Ledger.PROCESSED if attempt.weather == TAKES_DAYS else Ledger.PAID
    if state.card == ASKING_CARD:
        ledger = Ledger.ASKED
    if ledger in UNDER_WAY:
        state = replace(state, was_under_way=ledger)
    return replace(state, saved=saved, ledger=ledger)


def claimed(state: State) -> State:
    pause = conf.current().completer_pause
    return replace(
        put_off(state, pause, pause),
        attempt=state.attempt + 1,
        is_leased=True,
        is_under_review=False,
        since_claimed=timedelta(0),
        since_locked=timedelta(0),
    )


def reached(state: State, point: str) -> State:
    """A phase is committed, and the lease lasts from then on. What was pending has ended."""
    return replace(state, point=point, since_locked=timedelta(0), is_pending=False)


def let_go(state: State) -> State:
    """Without an answer: what is pending stays so."""
    put_off_by_failure = conf.current().completer_pause, failures.longest_wait()
    return replace(put_off(state, *put_off_by_failure), is_leased=False)


def put_off(state: State, least: timedelta, most: timedelta) -> State:
    if not state.is_pending:
        return state
    return replace(
        state,
        not_asked_about_for=max(state.not_asked_about_for, least),
        asked_about_within=max(state.asked_about_within, most),
    )


def noted_as_pending(state: State) -> State:
    """Committed, with when to ask again; when to give up is by when it was so first."""
    ask_again_in = UNDER_WAY[state.was_under_way].ask_again_in
    since = state.since_pending if state.is_pending else timedelta(0)
    return replace(
        state,
        is_leased=False,
        is_pending=True,
        since_pending=max(since, timedelta(0)),
        not_asked_about_for=ask_again_in,
        asked_about_within=ask_again_in,
    )


def heard_before(state: State) -> Way:
    """Whoever was frozen with Stripe's answer goes on with it, though it may be of the past."""
    yield state, ON_THE_WAY
    if state.was_under_way in UNDER_WAY:
        yield state, "pending"
        if state.is_leased:
            yield noted_as_pending(state), "pending"


def finished(state: State) -> State:
    status = 402 if state.ledger is Ledger.DECLINED else 201
    return replace(reached(state, FINISHED), is_leased=False, status=status)


def answer_of(state: State) -> str:
    return "card_declined" if state.status == 402 else "booked"


def aged(state: State, by: timedelta) -> State:
    """Time passes by the database's clock, or that is set; backwards, where `by` is negative."""
    if state.point == NOWHERE:
        return state
    saved = Saved.NOTHING if by >= STRIPE_FORGETS else state.saved
    return replace(
        state,
        saved=saved,
        age=state.age + by,
        since_locked=state.since_locked + by,
        since_claimed=state.since_claimed + by,
        since_pending=state.since_pending + by,
        not_asked_about_for=state.not_asked_about_for - by,
        asked_about_within=state.asked_about_within - by,
        since_sent=None if state.since_sent is None else state.since_sent + by,
    )


def stays(state: State, answer: str = ON_THE_WAY) -> Way:
    """Nothing is done to the key."""
    yield state, answer


def end_of(way: Way) -> Iterator[tuple[State, str]]:
    """How it ends when nobody is interrupted."""
    yield list(way)[-1]


def stops_on(way: Way) -> Iterator[tuple[State, str]]:
    """Where somebody may have stopped: killed, so that a lease is left, or having let go of it."""
    for state, answer in way:
        yield state, answer
        for told in TOLD_WHEN_INTERRUPTED:
            yield state, told
            yield let_go(state), told
