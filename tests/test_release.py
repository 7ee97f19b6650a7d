"""What is released: sdist and wheel, their metadata, one version, the citation."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

import sparsebench

ROOT = Path(__file__).parent.parent
NAME = f"sparsebench-{sparsebench.__version__}"
TOP = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
TOP = TOP["targets"]["sdist"]["only-include"]


def tracked():
    """Return the files of the repository, or skip."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a clone, or no git here")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split("\0")[:-1])


def build(folder, out):
    """Build both in a process of its own; return the bytes of the sdist and of the wheel."""
    environment = {n: v for n, v in os.environ.items() if n not in ("SOURCE_DATE_EPOCH", "COLUMNS")}
    given = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    ended = subprocess.run(given, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return (out / f"{NAME}.tar.gz").read_bytes(), (out / f"{NAME}-py3-none-any.whl").read_bytes()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source copied to a folder, with `results` beside it, and sdist and wheel built there."""
    pytest.importorskip("hatchling", reason="hatchling is not installed")
    folder = tmp_path_factory.mktemp("release") / "source"
    folder.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "results", "*.pdf")
    for name in (*TOP, "pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=unwanted)
        else:
            shutil.copy2(ROOT / name, folder / name)
    (folder / "results").mkdir()
    (folder / "results" / "results.db").write_text("rows")
    (folder / "figures" / "noise.pdf").write_text("drawn anew")
    (folder / "notes.txt").write_text("one's own")
    build(folder, folder.parent / "first")
    return folder.parent


def test_the_sdist_holds_what_git_tracks(built):
    with tarfile.open(built / "first" / f"{NAME}.tar.gz") as archive:
        found = {name.removeprefix(f"{NAME}/") for name in archive.getnames()}
    assert {
        "CITATION.cff",
        "LICENSE",
        "README.md",
        "benchmarks/solvers.py",
        "figures/thresholds.csv",
        "tests/studies/minimal_system.py",
        "tests/test_release.py",
    } <= found
    assert not {name for name in found if name.endswith((".db", ".pdf", ".pyc", "notes.txt"))}
    assert found == {*tracked(), "PKG-INFO"}


def test_the_wheel_holds_the_package_and_nothing_else(built):
    with zipfile.ZipFile(built / "first" / f"{NAME}-py3-none-any.whl") as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    info = f"{NAME}.dist-info"
    about = {name for name in found if name.startswith(info)}
    assert about == {
        f"{info}/{n}"
        for n in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    package = {
        str(path.relative_to(ROOT)): path.read_bytes()
        for path in (ROOT / "sparsebench").rglob("*")
        if path.name == "py.typed" or path.suffix in (".py", ".html", ".css", ".js")
    }
    assert package == {name: data for name, data in found.items() if name not in about}
    assert "sparsebench/py.typed" in found
    assert b"sparsebench = sparsebench.__main__:main" in found[f"{info}/entry_points.txt"]


def test_builds_are_equal_byte_for_byte(built):
    """In another folder, at another time, with other permissions; and from the sdist itself."""
    first = [path.read_bytes() for path in sorted((built / "first").iterdir())]
    shutil.copytree(built / "source", built / "elsewhere")
    for path in (built / "elsewhere").rglob("*"):
        os.utime(path, (1e9, 1e9))
        path.chmod(path.stat().st_mode & 0o700)
    again = build(built / "elsewhere", built / "second")
    with tarfile.open(built / "first" / f"{NAME}.tar.gz") as archive:
        archive.extractall(built, filter="data")
    unpacked = build(built / NAME, built / "third")
    hashes = {tuple(sorted(sha256(b).hexdigest() for b in o)) for o in (first, again, unpacked)}
    assert len(hashes) == 1


def test_the_metadata_are_valid(built):
    from packaging.metadata import Metadata

    with zipfile.ZipFile(built / "first" / f"{NAME}-py3-none-any.whl") as archive:
        text = archive.read(f"{NAME}.dist-info/METADATA")
    found = Metadata.from_email(text, validate=True)
    assert (found.name, str(found.version)) == ("sparsebench", sparsebench.__version__)
    assert found.license_expression == "MIT"
    assert found.description.strip() == (ROOT / "README.md").read_text().strip()
    assert email.message_from_bytes(text)["Description-Content-Type"] == "text/markdown"
    # Nothing can be uploaded that needs a file or an address of one's own.
    assert not [one for one in found.requires_dist or () if one.url]


def test_one_version():
    """The package states it; the changelog's last release and the citation have the same."""
    released = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    cited = re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert [sparsebench.__version__] == released[:1] == cited
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_that_of_the_code(tmp_path):
    """Not that of what was once installed: a clone that is pulled is not installed anew."""
    copy = tmp_path / "sparsebench"
    copy.mkdir()
    for name in ("__init__.py", "environment.py", "types.py"):
        shutil.copy(ROOT / "sparsebench" / name, copy / name)
    code = (copy / "__init__.py").read_text()
    assert sparsebench.__version__ in code
    (copy / "__init__.py").write_text(code.replace(sparsebench.__version__, "99.0"))
    asked = "import sparsebench; print(sparsebench.__version__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    given = [sys.executable, "-c", asked]
    ended = subprocess.run(given, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.stdout.strip() == "99.0", ended.stderr


def test_the_citation():
    yaml = pytest.importorskip("yaml", reason="pyyaml is not installed")
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert set(found) == {
        "cff-version",
        "message",
        "type",
        "title",
        "abstract",
        "authors",
        "version",
        "date-released",
        "license",
        "keywords",
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert found["cff-version"] == "1.2.0" and found["type"] == "software"
    assert found["authors"] == project["authors"]
    assert found["license"] == project["license"]
    assert found["keywords"] == project["keywords"]
    assert str(found["version"]) == sparsebench.__version__
