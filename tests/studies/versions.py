"""The tests with one Python and the lowest or the newest versions of every package.

    python tests/studies/versions.py 3.11 lowest --tests    # all tests
    python tests/studies/versions.py 3.14 newest            # the rows of the quick diagram

An environment is made with uv, of wheels only: "lowest" are the versions that `pyproject.toml`
names, or where one has no wheel for this Python the next that has. Without `--tests` it holds the
package and pytest alone, and `tests/test_versions.py` compares the rows with those committed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}


def install(python, end, folder, tests):
    """Make the environment, or bring it up to date, and return its Python."""
    if not (folder / "pyvenv.cfg").exists():
        uv("venv", "--quiet", "--no-python-downloads", "--python", python, folder)
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    pytest = next(text for text in extras["test"] if text.startswith("pytest>"))
    wanted = (f"{ROOT}[test,parquet]",) if tests else (ROOT, pytest)
    wheels = "--only-binary", ":all:", "--no-binary", "sparsebench"
    how = "--quiet", "--python", interpreter, "--resolution", RESOLUTIONS[end], *wheels
    uv("pip", "install", *how, "--editable", *wanted)
    return interpreter


def uv(*arguments):
    subprocess.run(["uv", *map(str, arguments)], check=True)


def versions(interpreter):
    """The versions of what `pyproject.toml` names, in one line."""
    frozen = subprocess.run(
        ["uv", "pip", "freeze", "--quiet", "--python", interpreter],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    named = re.findall(r'"([a-z-]+)>=', (ROOT / "pyproject.toml").read_text())
    return " ".join(text for text in frozen if text.split("==")[0] in named)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("python", help="a version, as 3.14, or the path of an interpreter")
    parser.add_argument("end", choices=RESOLUTIONS)
    parser.add_argument("--tests", action="store_true", help="all tests, not the rows alone")
    parser.add_argument("--folder", type=Path, help="keep the environment here, and use it again")
    options = parser.parse_args()
    if not shutil.which("uv"):
        raise SystemExit("this needs uv: pip install uv")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary) / "environment").absolute()
        interpreter = install(options.python, options.end, folder, options.tests)
        print(f"{options.python}, {options.end}: {versions(interpreter)}", flush=True)
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        ended = subprocess.run(
            [
                interpreter,
                "-m",
                "pytest",
                *(("-n", "auto") if options.tests else ("tests/test_versions.py",)),
            ],
            cwd=ROOT,
            # Compiled kernels belong to one numba.
            env={**environ, "NUMBA_CACHE_DIR": str(folder / "kernels")},
        )
    sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
