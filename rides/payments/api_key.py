"""Stripe's API key, which may be rotated in its file while the process runs."""

import logging
import os
from pathlib import Path

from django.conf import settings

logger = logging.getLogger(__name__)

_read: tuple[tuple[str, int], str] | None = None
"""Which file was read, as it was written when, and the key that was in it."""


def api_key() -> str:
    """Return the key that `STRIPE_API_KEY_FILE` has now, or `STRIPE_API_KEY` without a file.

    A file that cannot be read, or has no key in it, is being written: the key of before is used.
    """
    global _read
    path = settings.STRIPE_API_KEY_FILE
    if not path:
        return str(settings.STRIPE_API_KEY)
    try:
        version = (path, os.stat(path).st_mtime_ns)
        if _read is None or _read[0] != version:
            key = Path(path).read_text(encoding="utf-8").strip()
            if not key or not (key.isascii() and key.isprintable()):
                raise ValueError("it holds no key")
            if _read is not None:
                logger.info("Stripe's API key was rotated")
            _read = version, key
    except (OSError, ValueError) as error:
        logger.warning("STRIPE_API_KEY_FILE cannot be read: %s", type(error).__name__)
    return _read[1] if _read else str(settings.STRIPE_API_KEY)
