"""The answer of a key that is finished, and why a request does not get it."""

from django.http import HttpResponse

from idempotency.exceptions import KeyExpired, ParametersMismatch
from idempotency.models import IdempotencyKey
from idempotency.support.sendable import WITHOUT_BODY


def refuse_another_request(key: IdempotencyKey, *, is_same_operation: bool, sent: str) -> None:
    """Refuse a request whose key was used for another one.

    Args:
        sent: the fingerprint of what was sent now.

    Raises: `ParametersMismatch`.
    """
    if not is_same_operation or key.fingerprint != sent:
        raise ParametersMismatch(
            "This Idempotency-Key was first used for another operation or with other parameters. "
            "Nothing was done now. Send the first request again, or use a new key."
        )


def replay(key: IdempotencyKey) -> HttpResponse:
    """Return the answer that is stored for a finished key.

    Raises: `KeyExpired` where the reaper has removed it.
    """
    assert key.response_code is not None, "only a finished key is replayed"
    if key.is_tombstone:
        raise KeyExpired(
            f"This request was finished with status {key.response_code}, so long ago that its "
            "answer is no longer kept. Nothing was done now. Use a new Idempotency-Key for a new "
            "request."
        )
    answer = answer_with(
        bytes(key.response_body or b""),
        key.response_code,
        key.response_content_type,
        key.response_headers or {},
    )
    answer.headers["Idempotent-Replayed"] = "true"
    return answer


def answer_with(
    content: str | bytes, status: int, content_type: str | None, headers: dict[str, str]
) -> HttpResponse:
    answer = HttpResponse(content, status=status, content_type=content_type, headers=headers)
    if status in WITHOUT_BODY:
        del answer.headers["Content-Type"]
    return answer
