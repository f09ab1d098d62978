"""What a release uploads: `python -m build` makes the archive, and of the archive the wheel."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from idempotency.tests.conftest import ROOT

BUILD = ["-m", "build", "--no-isolation", "--outdir"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, *BUILD, str(folder)], cwd=ROOT, check=True, capture_output=True)
    [archive], [wheel_of_it] = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return archive, wheel_of_it


def test_the_wheel_of_the_archive_is_that_of_the_repository(built, wheel):
    from_the_archive, from_here = (
        {(each.filename, each.CRC) for each in zipfile.ZipFile(path).infolist()}
        for path in (built[1], wheel)
    )

    assert from_the_archive == from_here


def test_the_archive_has_the_app_and_what_a_reader_needs_and_no_tests(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"LICENSE", "CHANGELOG.md", "docs/adopting.md", "idempotency/py.typed"} <= names
    assert not any("tests" in name or name.startswith("rides") for name in names)
