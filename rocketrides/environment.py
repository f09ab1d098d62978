"""Where configuration comes from: the environment, and `.env` for what it leaves out.

It is apart from the settings because the sandbox's own commands need it without Django, and
without the database that the settings bring up.
"""

import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit
from uuid import UUID

from django.core.exceptions import ImproperlyConfigured
from environ import Env  # type: ignore[import-untyped]

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()
if (BASE_DIR / ".env").exists():
    # Some editors begin a file with a mark, which would be taken for a part of its first name.
    env.read_env(BASE_DIR / ".env", encoding="utf-8-sig")

SECRETS = (
    *("SECRET_KEY", "DATABASE_URL", "STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET", "EMAIL_URL"),
    *("TASKS_BROKER_URL", "METRICS_TOKEN", "CACHE_URL"),
)
"""Each may stand in a file that `<name>_FILE` names, as a secret that is mounted does."""

LOCAL_DIR = (BASE_DIR / env.str("LOCAL_DIR", default=".local")).resolve()

PORTS = range(1, 65_536)
SECONDS = range(1_000_000_000)
NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
YES = ("true", "on", "yes", "y", "ok", "1")
NO = ("false", "off", "no", "n", "0")

OWN_MACHINE = "127.0.0.1,localhost,::1"


def ask_no_proxy_for_this_machine() -> None:
    """Add this machine to the hosts that are asked without a proxy, by whichever library asks.

    A proxy in the environment is for what is outside, such as Stripe; to the stand-in, or to the
    API of the demo, it knows no way.
    """
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if direct != "*" and OWN_MACHINE not in direct:
        os.environ["no_proxy"] = f"{direct},{OWN_MACHINE}".strip(",")


ask_no_proxy_for_this_machine()


def refuse_to_start(reason: str) -> NoReturn:
    """Raises: SystemExit, because it ends manage.py and a server alike with this one line."""
    raise SystemExit(f"Rocket Rides does not start: {reason} (.env.example explains each variable)")


def read_secrets_from_files() -> None:
    """Have each secret's file read in place of its variable, here and in the processes started.

    Raises: SystemExit, in one line, where a file cannot be read.
    """
    for name in SECRETS:
        if path := os.environ.get(f"{name}_FILE", "").strip():
            try:
                os.environ[name] = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is no text"
                refuse_to_start(f"{name}_FILE names {path!r}, which cannot be read: {why}")


read_secrets_from_files()


def text(name: str) -> str:
    """Return what the variable holds, without the spaces and line ends around it: a secret that is
    mounted from a file often has one at its end.
    """
    return str(env.str(name, default="")).strip()


def secret(name: str) -> str:
    """Return a secret as it stands; one that begins with a `$` names no other variable."""
    return os.environ.get(name, "").strip()


def credential(name: str) -> str:
    """Return a secret that is sent in the head of a request.

    Raises: SystemExit, in one line without the secret, where a head cannot carry it.
    """
    held = secret(name)
    if not is_word_of_a_head(held):
        refuse_to_start(f"{name} holds a space, a control character or a letter that is not ASCII")
    return held


def is_word_of_a_head(word: str) -> bool:
    return word.isascii() and word.isprintable() and " " not in word


def namespace(name: str, *, default: str) -> UUID:
    """Return the UUID that the variable holds, or `default` where it holds nothing.

    Raises: SystemExit, in one line, for anything else.
    """
    held = text(name) or default
    try:
        return UUID(held)
    except ValueError:
        refuse_to_start(f"{name} is {held!r}, which is not a UUID")


def schema(name: str) -> str:
    """Return the name of a schema that the variable holds, or nothing where it holds none.

    Raises: SystemExit, in one line, for what PostgreSQL takes for no name without quotes.
    """
    held = text(name)
    if held and not NAME.fullmatch(held):
        refuse_to_start(f"{name} is {held!r}, which is no name of a schema such as cell_2")
    return held


def number(name: str, allowed: range, *, default: int = 0) -> int:
    """Return what the variable says, or `default` where it says nothing.

    Raises: SystemExit, in one line, for anything else than a whole number in `allowed`.
    """
    held = text(name)
    try:
        value = int(held) if held else default
    except ValueError:
        value = allowed.start - 1
    if value not in allowed:
        bounds = f"from {allowed.start} to {allowed.stop - 1}"
        refuse_to_start(f"{name} is {held!r}, which is not a whole number {bounds}")
    return value


def configured_database_url() -> str:
    """Return the URL of libpq's, or nothing where the embedded server is to be used."""
    return text("DATABASE_URL")


def boolean(name: str, *, default: bool) -> bool:
    """Return whether the variable says yes, or `default` where it says nothing.

    Raises: SystemExit, in one line, for a word that is neither yes nor no.
    """
    word = text(name).lower()
    if not word:
        return default
    if word not in (*YES, *NO):
        refuse_to_start(f"{name} is {word!r}, which is neither true nor false")
    return word in YES


def words(name: str) -> list[str]:
    """Return what the variable lists between commas; spaces around them mean nothing."""
    return [word.strip() for word in text(name).split(",") if word.strip()]


def one_of(name: str, allowed: Collection[str], *, default: str) -> str:
    """Return which of the `allowed` words the variable has, in whatever case.

    Raises: SystemExit, in one line, for any other.
    """
    given = text(name) or default
    for word in allowed:
        if word.upper() == given.upper():
            return word
    refuse_to_start(f"{name} is {given!r}, which is none of {', '.join(allowed)}")


def web_address(name: str) -> str:
    """Return the http or https address in the variable, or nothing where it has none.

    Raises: SystemExit, in one line, for anything else.
    """
    url = text(name)
    if url and not (is_word_of_a_head(url) and _has_host(url, schemes=("http", "https"))):
        refuse_to_start(f"{name} is not an address such as https://api.example.com")
    return url


def broker(name: str) -> str:
    """Return the URL of a job queue, or nothing where the variable names none.

    Raises: SystemExit, in one line without the URL, which may have a password.
    """
    url = text(name)
    if url and not _has_host(url, schemes=("redis", "rediss", "amqp", "amqps")):
        refuse_to_start(f"{name} is not a URL such as redis://host:6379/0 or amqp://host:5672//")
    return url


def mail(name: str) -> dict[str, Any]:
    """Return Django's settings for the URL by which mails leave; none where the variable has none.

    Raises: SystemExit, in one line without the URL, which may have a password.
    """
    url = text(name)
    if not url:
        return {}
    try:
        settings: dict[str, Any] = Env.email_url_config(url)
        is_complete = bool(settings["EMAIL_HOST"]) or not url.startswith("smtp")
    except (ImproperlyConfigured, ValueError):
        is_complete = False
    if not is_complete:
        refuse_to_start(f"{name} is not a URL such as smtp://user:password@mail.example.com:25")
    return settings


def cache(name: str) -> dict[str, Any]:
    """Return Django's cache for a URL; the memory of each process where the variable has none.

    Raises: SystemExit, in one line without the URL, which may have a password.
    """
    url = text(name)
    options = {"MAX_ENTRIES": 100_000}
    if not url:
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": options}
    if _has_host(url, schemes=("redis", "rediss")):
        return {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
    if _has_host(url, schemes=("dbcache",)):
        table, backend = urlsplit(url).netloc, "django.core.cache.backends.db.DatabaseCache"
        return {"BACKEND": backend, "LOCATION": table, "OPTIONS": options}
    refuse_to_start(f"{name} is not a URL such as dbcache://rides_cache or redis://host:6379/1")


def _has_host(url: str, *, schemes: Collection[str]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
