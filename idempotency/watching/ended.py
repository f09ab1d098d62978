"""What processes have counted that are gone: the files of `prometheus-client`, added up into one.

The library removes none of them, so each restart would leave two more, and each scrape reads all.
A folder is one machine's, or one container's: it is by their pids that processes are known.
"""

import fcntl
import os
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

OF_A_PROCESS = re.compile(r"(counter|histogram|summary)_(\d+)\.db")
PATIENCE_SECONDS = 5.0
LOOK_AGAIN_SECONDS = 0.01


class Busy(Exception):
    """Another process has not been done with the folder in time: it was stopped in the middle."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep out others that read the folder or add up, so that nobody reads a number twice.

    Raises: `Busy`.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    with (folder / "lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Busy from None
                time.sleep(LOOK_AGAIN_SECONDS)
        yield


def add_up_ended(folder: Path) -> None:
    """Put what processes have counted that are gone into one file of each kind.

    To be called in `alone_in`. Where the caller is killed before the files are removed, they are
    counted twice from then on; where they were removed first, never again.
    """
    ended: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        found = OF_A_PROCESS.fullmatch(path.name)
        if found and not _is_there(int(found[2])):
            if path.stat().st_size:
                ended[found[1]].append(path)
            else:
                path.unlink()  # of one that was killed before it had counted anything
    for kind, paths in ended.items():
        _add_up(paths, folder / f"{kind}_ended.db")


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's, and there
    return True


def _add_up(paths: Sequence[Path], into: Path) -> None:
    sums: dict[str, float] = defaultdict(float)
    for path in [into, *paths] if into.exists() else paths:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
            sums[key] += value
    new = into.with_suffix(".new")
    new.unlink(missing_ok=True)  # of one that was killed
    written = MmapedDict(str(new))
    for key, value in sums.items():
        written.write_value(key, value, 0.0)
    written.close()
    new.replace(into)
    for path in paths:
        path.unlink()
