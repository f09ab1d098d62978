"""What an adopter imports from the app is there; who may import whom is in `.importlinter`."""

import pytest

import idempotency


def test_what_an_adopter_imports_is_there():
    assert all(getattr(idempotency, name) for name in idempotency.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'operation'"):
        idempotency.operation  # noqa: B018
