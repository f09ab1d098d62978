"""Where PostgreSQL's files lie when they cannot lie in the project's folder: since its name is one
that libpq or a shell misreads, or since root starts the server, which is then another user's, who
may not enter every folder. Open it to see why `.local/postgres` is a link.
"""

import os
import pwd
import shutil
import stat
import sys
import tempfile
from pathlib import Path

SERVERS_USER = "nobody"
ROOMS = [Path("/var/lib"), Path(os.path.expanduser("~")), Path(tempfile.gettempdir())]
"""The first that will do has the data; only root can write to the first."""
# What libpq takes for the end of a host's name, and what PostgreSQL's programs give to a shell.
MISREAD = set(',"$`\\')


def find_a_place(data_dir: Path, package: Path) -> None:
    """Have new data lie where a server can run: in `data_dir`, or else in a folder apart, to which
    `data_dir` is then a link.

    No mode of a folder is changed but of the one around the data, which has nothing else in it.
    """
    if os.geteuid() == 0:
        let_pass(data_dir.parent)
    if not data_dir.exists() and (reason := why_not(data_dir.parent, *parts_of(package))):
        make_room(data_dir, package)
        sys.stderr.write(f"PostgreSQL's data lies in {data_dir.resolve()}, because {reason}\n")


def why_not(*folders: Path) -> str:
    """Return in words what is wrong with one of the folders, or nothing."""
    for folder in folders:
        if misread := " ".join(sorted(MISREAD & set(str(folder)))):
            return f"the name of {folder} has {misread} in it, which PostgreSQL's programs misread"
        if os.geteuid() == 0 and (closed := closed_to_others(folder)):
            return f"its server runs as {SERVERS_USER}, who may not enter {closed}"
    return ""


def programs(data_dir: Path, package: Path) -> Path:
    """Return the folder of the programs for the server in `data_dir`: of the copy if it has one."""
    copy = data_dir.resolve().parent / package.name
    return (copy if copy.exists() else package) / "pginstall" / "bin"


def make_room(data_dir: Path, package: Path) -> None:
    """Make `data_dir` a link to where new data may lie, beside a copy of the programs."""
    rooms = [room for room in ROOMS if os.access(room, os.W_OK) and not why_not(room)]
    room = Path(tempfile.mkdtemp(prefix=".rocketrides-", dir=rooms[0] if rooms else None))
    let_pass(room)
    for part in parts_of(package):
        copy_for_others(part, room / part.name)
    data_dir.unlink(missing_ok=True)  # a link into a room that is gone
    data_dir.symlink_to(room / "data")


def parts_of(package: Path) -> list[Path]:
    """Return the folders of a wheel's programs, and of the libraries that were put beside them."""
    return [part for part in (package, package.with_suffix(".libs")) if part.exists()]


def closed_to_others(folder: Path) -> Path | None:
    """Return the folder that keeps other users out of this one, if there is one."""
    around = (each for each in (folder, *folder.parents) if not each.stat().st_mode & stat.S_IXOTH)
    return next(around, None)


def let_pass(folder: Path) -> None:
    folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)


def copy_for_others(source: Path, target: Path) -> None:
    """Copy a folder so that everybody may read and run what its owner may, whatever the umask."""
    shutil.copytree(source, target, symlinks=True)
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | (mode & 0o500) >> 6)


def give_to_servers_user(folder: Path) -> None:
    user = pwd.getpwnam(SERVERS_USER)
    os.chown(folder, user.pw_uid, user.pw_gid)
