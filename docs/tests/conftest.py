"""The wheel that adopters install, for the guides and the archive."""

from idempotency.tests.conftest import installed, wheel

__all__ = ["installed", "wheel"]
