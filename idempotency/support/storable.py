"""The gate for whatever the outside says: storable and bounded before it is recorded or shown.

Open it before you record, log or print an error, or anything that a client, a foreign system or the
database said. `storable_text` and `storable_json` make any value fit for PostgreSQL, a log line and
a terminal; of an exception `described` says what may be kept. None of them raises.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from idempotency.exceptions import (
    LEAVING,
)

TEXT_LIMIT = 2_000
"""Characters of a text that are kept, the note that says where it was cut included."""

ENTRY_LIMIT = 16 * 1024
"""Bytes of an entry (of the journal, of the evidence) that are kept, as JSON in UTF-8."""

_KEY_LIMIT = 200
_DEPTH_LIMIT = 12
_NOTE_LIMIT = 80  # characters that a note of a cut takes, at most
_RESERVE = 1_000  # bytes of an entry that are left for such notes, one a level

# Control characters (NUL and line breaks among them), Unicode's line separators and bidirectional
# marks, and lone surrogates: PostgreSQL stores some of them not at all, and a log or a terminal is
# written to by the others.
UNSTORABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t", "\x00": r"\0"}


def escaped(text: str) -> str:
    """Return the text with what cannot be stored or shown written out, as `\\x1b` or `\\u202e`."""
    return UNSTORABLE.sub(_written_out, text)


def storable_text(text: object, limit: int = TEXT_LIMIT) -> str:
    """Return a text that can be stored, logged and printed, of at most `limit` characters.

    What was cut off is said at the end. Given its own result, it returns that.
    """
    whole = said_by(text)
    if len(whole) <= limit:
        shown = escaped(whole)
        if len(shown) <= limit:
            return shown
    kept, room = [], limit - _NOTE_LIMIT
    for character in whole[: max(0, room)]:
        piece = escaped(character)
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return f"{''.join(kept)}{_cut(len(whole) - len(kept), 'characters')}"[: max(0, limit)]


def storable_json(value: object, limit: int = ENTRY_LIMIT) -> Any:
    """Return what JSON and PostgreSQL's `jsonb` can hold of any value, in at most `limit` bytes.

    Each text in it is bounded by `TEXT_LIMIT`. What JSON has no word for is told as text, and what
    was left out is said in its place.
    """
    shown = _Entry(limit - _RESERVE).fit(value, _DEPTH_LIMIT)
    size = _size(shown)
    return shown if size <= limit else storable_text(_cut(size, "bytes"))


def storable_json_text(value: object) -> str:
    """Return the JSON text of `storable_json`; of a plain entry at the cost of `json.dumps`."""
    if _is_plain(value):
        # In ASCII whatever would have to be escaped has a backslash, but for DEL.
        plain = json.dumps(value)
        if len(plain) <= TEXT_LIMIT and "\\" not in plain and plain.isprintable():
            return plain
    return json.dumps(storable_json(value))


# Texts.


def _written_out(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def said_by(value: object) -> str:
    """Return what a value says of itself; where it fails to, what it is."""
    try:
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, bytes | bytearray):
            return value.decode(errors="backslashreplace")
        return str.__str__(str(value))
    except LEAVING:
        raise
    except BaseException:
        return f"<{type_name(type(value))} that cannot be shown>"


def _cut(count: int, what: str) -> str:
    return f" … [cut: {count:,} more {what}]"


# JSON.


def _is_plain(value: object) -> bool:
    """Say whether it is a flat dict of texts and numbers, as an entry of the journal mostly is."""
    return type(value) is dict and all(
        type(key) is str
        and len(key) <= _KEY_LIMIT
        and (type(item) in (str, bool) or (type(item) in (int, float) and abs(item) < 2**63))
        for key, item in value.items()
    )


@dataclass(slots=True)
class _Entry:
    """An entry that is being filled. `room` is how many bytes may still be added."""

    room: int

    def fit(self, value: object, depth: int) -> Any:
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, depth)
            if isinstance(value, list | tuple | set | frozenset):
                return self._list(value, depth)
            return self._scalar(value)
        except LEAVING:
            raise
        except BaseException:  # a value of the adopter's may raise anything when it is read
            return self._text(f"<{type_name(type(value))} that cannot be read>")

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Any:
        shown: dict[str, Any] = {}
        if depth == 0:
            return self._text(f"<{type_name(type(value))} nested too deeply>")
        self.room -= len("{}")
        for count, (key, item) in enumerate(value.items()):
            name = _unused(storable_text(key, _KEY_LIMIT), shown)
            self.room -= _size(name) + len(": , ")
            if self.room < _NOTE_LIMIT:
                shown["…"] = _cut(len(value) - count, "entries").strip()
                break
            shown[name] = self.fit(item, depth - 1)
        return shown

    def _list(self, value: Iterable[Any], depth: int) -> Any:
        shown: list[Any] = []
        if depth == 0:
            return self._text(f"<{type_name(type(value))} nested too deeply>")
        items = list(value)
        self.room -= len("[]")
        for count, item in enumerate(items):
            if self.room < _NOTE_LIMIT:
                shown.append(_cut(len(items) - count, "entries").strip())
                break
            self.room -= len(", ")
            shown.append(self.fit(item, depth - 1))
        return shown

    def _scalar(self, value: object) -> Any:
        if value is None or isinstance(value, bool):
            plain: Any = value
        elif isinstance(value, int) and abs(value) < 2**63:
            plain = int(value)
        elif isinstance(value, int):
            return self._text(_large(value))
        elif isinstance(value, float) and abs(value) < float("inf"):
            plain = float(value)
        else:
            return self._text(value)
        self.room -= _size(plain)
        return plain

    def _text(self, value: object) -> str:
        shown = storable_text(value)
        if _size(shown) > self.room:
            # A character takes four bytes at most.
            shown = storable_text(value, max(_NOTE_LIMIT, self.room // 4))
        self.room -= _size(shown)
        return shown


def _unused(name: str, names: Mapping[str, Any]) -> str:
    """Return the name; another one where two keys are the same as texts, such as 1 and "1"."""
    number = 2
    unused = name
    while unused in names:
        unused, number = f"{name} ({number})", number + 1
    return unused


def _large(number: int) -> str:
    return str(number) if number.bit_length() < 1_000 else f"<{number.bit_length()} bits>"


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


def type_name(kind: type) -> str:
    """Return the name of a type; with its module, where that is not Python's own."""
    module = getattr(kind, "__module__", "")
    name = str(getattr(kind, "__qualname__", kind))
    return name if module in ("builtins", "") else f"{module}.{name}"
