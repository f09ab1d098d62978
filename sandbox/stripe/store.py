"""Where the stand-in keeps what it has: one SQLite file, one transaction for each call.

What a call changed is committed before its answer is sent, so an answered change survives kill -9;
no flush to the disk is asked for, since a stand-in need not survive a power cut. Nothing is held in
memory, so a stand-in that ran for days is no larger than a new one, and starts as quickly.
"""

import sqlite3
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS object (
    number         INTEGER PRIMARY KEY,  -- in the order of creation
    id             TEXT NOT NULL UNIQUE,
    kind           TEXT NOT NULL,
    created        INTEGER NOT NULL,
    customer       TEXT,
    payment_intent TEXT,
    charged_under  TEXT,
    body           TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS object_of_kind ON object (kind, number);
CREATE INDEX IF NOT EXISTS object_of_customer ON object (kind, customer, number)
 WHERE customer IS NOT NULL;
CREATE INDEX IF NOT EXISTS object_of_payment ON object (kind, payment_intent, number)
 WHERE payment_intent IS NOT NULL;

CREATE TABLE IF NOT EXISTS answer (
    account     TEXT NOT NULL,
    key         TEXT NOT NULL,
    path        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status      INTEGER NOT NULL,
    body        TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    created     REAL NOT NULL,
    PRIMARY KEY (account, key)
);
CREATE INDEX IF NOT EXISTS answer_by_age ON answer (created);
"""


class StoreError(Exception):
    """The file cannot be used; the message says why, in one line."""


class StoreInUse(StoreError):
    """Another stand-in uses it. It is free as soon as that one has ended, however it ends."""


def open_store(folder: Path | None) -> sqlite3.Connection:
    """Open `stand-in.sqlite3` in a folder that one process at a time may use; None: in memory.

    Raises:
        StoreInUse: another stand-in uses the folder.
        StoreError: it cannot be written.
    """
    try:
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
        path = folder / "stand-in.sqlite3" if folder else ":memory:"
        store = sqlite3.connect(path, timeout=0)
        store.execute("PRAGMA locking_mode = EXCLUSIVE")
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("PRAGMA synchronous = OFF")
        store.executescript(f"BEGIN EXCLUSIVE; {SCHEMA} COMMIT;")
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}") from error
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise StoreInUse(f"another stand-in is using {folder}") from error
        raise StoreError(f"cannot use {path}: {error}") from error
    return store
