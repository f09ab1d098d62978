"""The append-only file: one JSON line for everything that one call changed.

A line is written before its answer is sent, so an answered change survives kill -9; no flush to the
disk is asked for, since a stand-in need not survive a power cut. A line is all or nothing: the half
of one that a kill left behind was never answered, and is cut off.
"""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

Entry = dict[str, Any]


class JournalError(Exception):
    """The journal cannot be used; the message says why, in one line."""


class Journal(Protocol):
    def entries(self) -> Iterator[Entry]: ...
    def append(self, entry: Entry) -> None: ...
    def clear(self) -> None: ...


class MemoryJournal:
    """Keeps nothing, for benchmarks and for tests that never restart the stand-in."""

    def entries(self) -> Iterator[Entry]:
        return iter(())

    def append(self, entry: Entry) -> None:
        pass

    def clear(self) -> None:
        pass


class FileJournal:
    """`journal.jsonl` in a folder that one process at a time may use.

    Raises:
        JournalError: the folder cannot be written, or another stand-in uses it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab", buffering=0)
        except OSError as error:
            raise JournalError(f"cannot write to {folder}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalError(f"another stand-in is using {folder}") from error

    def entries(self) -> Iterator[Entry]:
        """Every whole line, oldest first; a torn last one is removed from the file."""
        good_bytes = 0
        with self._path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    self._file.truncate(good_bytes)
                    return
                yield self._parse(number, line)
                good_bytes += len(line)

    def append(self, entry: Entry) -> None:
        self._file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")

    def clear(self) -> None:
        self._file.truncate(0)

    def _parse(self, number: int, line: bytes) -> Entry:
        try:
            entry: Entry = json.loads(line)
        except ValueError as error:
            raise JournalError(f"{self._path}, line {number}: not JSON") from error
        return entry
