"""What must hold of any operation's key once everything is at rest, whatever happened to it.

Each is a function of a trial that raises `AssertionError`. An adopter adds their own: what of a
request may exist how often in their tables, and at the foreign system.
"""

from idempotency import conf
from idempotency.models import FINISHED, IdempotencyKey
from idempotency.staging import task_named
from idempotency.support.storable import TEXT_LIMIT
from idempotency.testing.experiments import Trial
from idempotency.testing.faults import Fault
from idempotency.testing.histories import DELIVERIES, QUEUE, STAGED, Change, Row, history_of

# What a finished key may still lose, to the reaper, and what does not count as a change: times.
_REAPED = {
    *("path_kwargs", "request_path", "request_params", "origin_ip"),
    *("response_body", "response_content_type", "response_headers", "journal"),
}
_TIMES = {
    *("created_at", "last_run_at", "locked_at", "run_after"),
    *("foreign_sent_at", "pending_since", "gives_up_at"),
}


def every_client_is_answered(trial: Trial) -> None:
    """The last answer is final, or a person has the request on their list."""
    last = trial.answers[-1]
    assert last.is_final or _key(trial).is_under_review, f"the client still waits: {last}"


def final_answers_are_identical(trial: Trial) -> None:
    """In status and in every byte of the body, the stored answer included."""
    answers: set[tuple[int | None, bytes]] = {(a.status, a.body) for a in trial.final_answers}
    key = _key(trial)
    if key.is_finished and not key.is_tombstone:
        answers.add((key.response_code, bytes(key.response_body or b"")))
    assert len(answers) <= 1, f"different final answers: {answers}"


def nothing_is_left_unfinished(trial: Trial) -> None:
    """Finished, or with a person; nothing in between."""
    key = _key(trial)
    assert key.is_finished or key.is_under_review, f"left at {key.recovery_point}"


def no_lease_is_left(trial: Trial) -> None:
    """At rest nobody works, so nobody holds a lease."""
    assert _key(trial).locked_at is None, "a lease has no living owner"


def recovery_points_never_go_back(trial: Trial) -> None:
    phases = trial.experiment.operation.phases()

    def place_of(point: str) -> int:
        """By its present name or a former one."""
        here = (n for n, phase in enumerate(phases) if phase.starts_from(point))
        return len(phases) if point == FINISHED else next(here, 0)

    for before, after in _updates(trial):
        points = before["recovery_point"], after["recovery_point"]
        assert place_of(points[0]) <= place_of(points[1]), f"{points[0]} -> {points[1]}"


def attempts_never_fall(trial: Trial) -> None:
    """They are the leases' numbers, by which people tell them apart."""
    for before, after in _updates(trial):
        assert before["attempt"] <= after["attempt"], f"{before['attempt']} -> {after['attempt']}"


def a_lease_is_taken_with_a_new_token_only(trial: Trial) -> None:
    """A claim that does not change the token leaves the fence open to the one before it; and what
    is not a claim leaves the token to its owner, who may still write.
    """
    drawn: set[str] = set()
    for change in trial.history:
        if change.before and change.after:
            kept = change.before["lease_token"] == change.after["lease_token"]
            assert kept or _is_claim(change), "the token was changed, and no lease was taken"
            assert not kept or not _is_claim(change), "claimed with the old token"
            assert kept or change.after["lease_token"] not in drawn, "claimed with an old token"
        drawn.update(row["lease_token"] for row in (change.before, change.after) if row)


def a_live_lease_is_not_taken(trial: Trial) -> None:
    """Whoever claims a key finds it let go, or its lease run out; or to begin in the future, by a
    clock that was wrong.
    """
    settings = conf.current()
    for change in trial.history:
        since = change.time("locked_at")
        if since and _is_claim(change):
            held = change.at - since
            is_live = -settings.clock_tolerance <= held < settings.lock_timeout
            assert not is_live, f"taken from its owner after {held}"


def a_lease_is_let_go_by_its_owner(trial: Trial) -> None:
    """With the entry in the journal that says how the attempt ended."""
    for before, after in _updates(trial):
        if before["locked_at"] and not after["locked_at"]:
            assert after["journal"] != before["journal"], "let go by nobody"
            author = after["journal"][-1]["attempt"]
            assert author == before["attempt"], f"let go by {author}"


def only_the_owner_writes(trial: Trial) -> None:
    """Each entry of the journal is by the attempt that holds the key, so attempts never fall."""
    attempts = [entry["attempt"] for entry in _key(trial).journal]
    assert attempts == sorted(attempts), f"written out of turn: {attempts}"


def a_failed_call_is_written_down(trial: Trial) -> None:
    """On the key, which is let go with it, whatever the foreign system said; and within limits.

    What a job calls is written down with its delivery, not here; and what a lost history said of it
    is lost as well.
    """
    if trial.fault is not Fault.HOSTILE or not trial.was_struck or not _is_of_a_phase(trial):
        return
    if trial.experiment.loses_history:
        return
    errors = [c.after["last_error"] for c in trial.history if c.after and not c.after["locked_at"]]
    assert any(errors), "an attempt failed, and nothing says so"
    assert max(map(len, errors)) <= TEXT_LIMIT, "its words were kept whole"


def a_finished_key_never_changes(trial: Trial) -> None:
    for before, after in _updates(trial):
        if before["recovery_point"] == FINISHED:
            changed = {name for name in before if before[name] != after[name]} - _TIMES
            assert changed <= (_REAPED if after["response_body"] is None else set()), changed


def the_foreign_key_never_changes(trial: Trial) -> None:
    """It is what the foreign system recognises the request by."""
    for before, after in _updates(trial):
        assert before["foreign_key"] == after["foreign_key"], "sent under two foreign keys"


def what_is_pending_is_kept_until_it_ends(trial: Trial) -> None:
    """By what the foreign system identifies it: whatever fails meanwhile, nothing is sent again."""
    for before, after in _updates(trial):
        kept = before["foreign_reference"] == after["foreign_reference"]
        ended = before["recovery_point"] != after["recovery_point"]
        assert before["foreign_reference"] is None or kept or ended, "it was forgotten"


def nothing_unfinished_is_deleted(trial: Trial) -> None:
    deleted = [change.before for change in trial.history if change.after is None]
    points = [before["recovery_point"] for before in deleted if before]
    assert set(points) <= {FINISHED}, f"deleted at {points}"


def a_job_is_handed_over_once_and_in_its_time(trial: Trial) -> None:
    """What the queue loses is delivered again by its record; it is not drained again. And what is
    for later stays staged until then.
    """
    for job_id in _jobs(trial):
        drained = [change for change in history_of(job_id) if change.table == STAGED]
        assert len(drained) <= 1, f"drained {len(drained)} times"
        for change in drained:
            due_at = change.time("run_after")
            assert due_at is None or due_at <= change.at, f"drained at {change.at}, for {due_at}"


def a_job_goes_with_what_was_asked_of_the_queue(trial: Trial) -> None:
    """Into its delivery record, and with every hand-over, the first and those after a loss."""
    for job_id in _jobs(trial):
        history = history_of(job_id)
        for staged in (change.before for change in history if change.table == STAGED):
            assert staged is not None
            own = task_named(staged["job_name"])
            asked = staged["priority"], staged["queue_name"], staged["backend"]
            due = (
                own.priority if staged["priority"] is None else staged["priority"],
                staged["queue_name"] or own.queue_name,
                staged["backend"] or own.backend,
            )
            for change in history:
                row = change.after or {}
                if change.table == DELIVERIES:
                    kept = row["priority"], row["queue_name"], row["backend"]
                    assert kept == asked, f"asked for {asked}, and kept {kept}"
                if change.table == QUEUE:
                    got = row["priority"], row["queue_name"], row["backend_name"]
                    assert got == due, f"to be handed over with {due}, and was with {got}"


def no_transaction_is_open_during_a_foreign_call(trial: Trial) -> None:
    """By PostgreSQL's own account."""
    found = trial.watch.transactions_during_foreign_calls
    assert not found, found


INVARIANTS = (
    every_client_is_answered,
    final_answers_are_identical,
    nothing_is_left_unfinished,
    no_lease_is_left,
    recovery_points_never_go_back,
    attempts_never_fall,
    a_lease_is_taken_with_a_new_token_only,
    a_live_lease_is_not_taken,
    a_lease_is_let_go_by_its_owner,
    only_the_owner_writes,
    a_failed_call_is_written_down,
    a_finished_key_never_changes,
    the_foreign_key_never_changes,
    what_is_pending_is_kept_until_it_ends,
    nothing_unfinished_is_deleted,
    a_job_is_handed_over_once_and_in_its_time,
    a_job_goes_with_what_was_asked_of_the_queue,
    no_transaction_is_open_during_a_foreign_call,
)


def _key(trial: Trial) -> IdempotencyKey:
    key = trial.key
    assert key is not None, "the key is not there"
    return key


def _is_of_a_phase(trial: Trial) -> bool:
    phases = trial.experiment.operation.phases()
    names = {name for p in phases for name in (p.name, getattr(p, "lookup_name", None))}
    return trial.boundary is not None and trial.boundary.step in names


def _jobs(trial: Trial) -> set[str]:
    """The ids of what the key's phases have staged, also when its journal was reaped since."""
    journals = [change.after["journal"] or [] for change in trial.history if change.after]
    return {job_id for journal in journals for entry in journal for job_id in entry.get("jobs", ())}


def _is_claim(change: Change) -> bool:
    if not change.before or not change.after:
        return False
    # The time alone also changes where a test lets time pass, and may go back with the clock.
    return all(change.after[name] != change.before[name] for name in ("last_run_at", "journal"))


def _updates(trial: Trial) -> list[tuple[Row, Row]]:
    return [(c.before, c.after) for c in trial.history if c.before and c.after]
