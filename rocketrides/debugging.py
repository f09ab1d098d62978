"""Django's debug page without secrets: those of the settings, of the environment, and of any frame.

Django masks settings whose names tell it to. A password also stands in the local variables of the
frames of an error, and in a process's environment, which some servers show with the request: so
whatever is a secret is looked for in the whole page.
"""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.utils.html import escape
from django.utils.safestring import SafeString
from django.views.debug import ExceptionReporter

SECRET_VARIABLES = (
    "SECRET_KEY",
    "DATABASE_URL",
    "STRIPE_API_KEY",
    "TASKS_BROKER_URL",
    "CELERY_BROKER_URL",
    "EMAIL_URL",
)
SHORTEST = 4
"""Characters of a secret that is looked for: a shorter one is a part of half a page's words."""

STARS = "********************"


class ReporterWithoutSecrets(ExceptionReporter):
    """What `DEFAULT_EXCEPTION_REPORTER` names."""

    def get_traceback_html(self) -> SafeString:
        return without_secrets(super().get_traceback_html())

    def get_traceback_text(self) -> SafeString:
        return without_secrets(super().get_traceback_text())


def without_secrets(page: str) -> SafeString:
    known = {secret for secret in secrets() if len(secret) >= SHORTEST}
    for secret in sorted(known, key=len, reverse=True):  # an address before the password in it
        page = _in_any_form(secret).sub(STARS, page)
    return SafeString(page)  # it was escaped before, and stars need no escaping


def _in_any_form(secret: str) -> re.Pattern[str]:
    """Return a pattern for it as HTML has it, as Python quotes it, and as libpq does: in each of
    these a character may be an entity, or have backslashes before it.
    """
    return re.compile(
        r"\\*".join(f"(?:{re.escape(escape(c))}|{re.escape(c)})" for c in secret),
    )


def secrets() -> Iterator[str]:
    """Yield each secret of this process, in each way in which it is written somewhere."""
    for value in (os.environ.get(name, "").strip() for name in SECRET_VARIABLES):
        yield value
        password = _password_in(value)
        yield from (password, unquote(password))
    yield from (settings.SECRET_KEY, settings.STRIPE_API_KEY, *settings.STRIPE_WEBHOOK_SECRETS)
    if settings.STRIPE_API_KEY_FILE:  # which may have another one by now
        with suppress(OSError, UnicodeDecodeError):
            yield Path(settings.STRIPE_API_KEY_FILE).read_text(encoding="utf-8").strip()
    yield getattr(settings, "EMAIL_HOST_PASSWORD", "") or ""
    for database in settings.DATABASES.values():
        yield from map(str, _passwords(database))


def _password_in(url: str) -> str:
    """Return the password as it stands in a URL, which may be one that cannot be parsed."""
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _passwords(database: dict[str, Any]) -> Iterator[Any]:
    for name, value in database.items():
        if isinstance(value, dict):
            yield from _passwords(value)
        elif value and "password" in name.lower():
            yield value
