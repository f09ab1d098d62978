"""Where the demo's mails go: files, of which the latest thousand stay."""

import contextlib
from pathlib import Path

from django.core.mail.backends import filebased

MAILS_KEPT = 1_000
REMOVED_AT_ONCE = 100


class EmailBackend(filebased.EmailBackend):
    """Django's mails as files, each connection's in one of its own; the oldest are removed."""

    def close(self) -> None:
        super().close()
        mails = list(Path(self.file_path).glob("*.log"))
        if len(mails) >= MAILS_KEPT + REMOVED_AT_ONCE:
            with contextlib.suppress(FileNotFoundError):  # another worker is at it
                mails.sort(key=lambda mail: mail.stat().st_mtime_ns)
                for mail in mails[:-MAILS_KEPT]:
                    mail.unlink()
