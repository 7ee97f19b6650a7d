"""Dictionaries in files: read alike from every format, or refused in one line."""

import importlib.util
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse
from typer.testing import CliRunner

import sparsebench
from sparsebench.cli.application import app
from sparsebench.problems import draw, draw_dictionary, is_fixed, stated_atoms
from sparsebench.problems.files import read_matrix
from sparsebench.problems.matrix import _read
from sparsebench.registry import choose_problem
from sparsebench.types import InputError

M, N = 20, 40
VALUES = np.random.default_rng(5).standard_normal((M, N))
VALUES[np.random.default_rng(6).random((M, N)) < 0.5] *= -0.0


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _read.cache_clear()


def in_hdf5(path, **arrays):
    """As MATLAB 7.3 does: axes the other way round, sparse matrices as three vectors."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            if scipy.sparse.issparse(array):
                group = file.create_group(name)
                group.attrs["MATLAB_sparse"] = np.uint64(array.shape[0])
                group["data"], group["ir"], group["jc"] = array.data, array.indices, array.indptr
            else:
                file[name] = array.T
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


WRITERS = {
    "A.npy": lambda path: np.save(path, VALUES),
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(VALUES)),
    "dense.npz": lambda path: np.savez(path, A=VALUES, y=VALUES[:, 0]),
    "sparse.npz": lambda path: scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(VALUES)),
    "plain.csv": lambda path: np.savetxt(path, VALUES, delimiter=","),
    "frame.csv": lambda path: pd.DataFrame(VALUES).add_prefix("atom ").to_csv(path),
    "semicolons.csv": lambda path: pd.DataFrame(VALUES).to_csv(path, sep=";", index=False),
    "numbered.csv": lambda path: pd.DataFrame(VALUES).to_csv(path),
    "spaces.txt": lambda path: np.savetxt(path, VALUES),
    "A.tsv": lambda path: np.savetxt(path, VALUES, delimiter="\t"),
    "A.mtx": lambda path: scipy.io.mmwrite(path, scipy.sparse.coo_matrix(VALUES), precision=17),
    "dense.mtx": lambda path: scipy.io.mmwrite(path, VALUES, precision=17),
    "A.mat": lambda path: scipy.io.savemat(path, {"A": VALUES, "y": VALUES[:, :1], "name": "x"}),
    "sparse.mat": lambda path: scipy.io.savemat(path, {"A": scipy.sparse.csc_matrix(VALUES)}),
    "new.mat": lambda path: in_hdf5(path, A=VALUES, y=VALUES[:, :1]),
    "new sparse.mat": lambda path: in_hdf5(path, A=scipy.sparse.csc_matrix(VALUES)),
    "A.parquet": lambda path: pd.DataFrame(VALUES).rename(columns=str).to_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_the_same_matrix_and_the_same_rows(tmp_path, name):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    WRITERS[name](tmp_path / name)
    np.testing.assert_array_equal(read_matrix(name).values, VALUES)
    np.save("reference.npy", VALUES)
    one, other = (
        choose_problem("matrix[file=reference.npy]"),
        choose_problem(f"matrix[file={name}]"),
    )
    assert one.recipe == other.recipe
    assert stated_atoms(other) == N
    a, b = (draw(f"matrix[file={file}]", m=M, n=N, k=3) for file in ("reference.npy", name))
    np.testing.assert_array_equal(a.A, VALUES)
    np.testing.assert_array_equal(a.y, b.y)
    np.testing.assert_array_equal(a.y, VALUES @ a.x)


def test_labels_name_the_atoms(tmp_path):
    for name, first in (("frame.csv", "atom 0"), ("semicolons.csv", "0")):
        WRITERS[name](tmp_path / name)
        assert read_matrix(name).labels[0] == first
    assert read_matrix("semicolons.csv").labels[-1] == str(N - 1)


def test_one_of_several_is_named(tmp_path):
    arrays = {"A": VALUES, "B": 2 * VALUES, "y": VALUES[:, :1]}
    np.savez("two.npz", **arrays)
    scipy.io.savemat("two.mat", arrays)
    if importlib.util.find_spec("h5py"):
        in_hdf5("new.mat", **arrays)
    for name in ("two.npz", "two.mat", *(["new.mat"] if importlib.util.find_spec("h5py") else [])):
        np.testing.assert_array_equal(read_matrix(name, "B").values, 2 * VALUES)
        with pytest.raises(
            InputError, match=r"A \(20, 40\), B \(20, 40\).*variable=... says which"
        ):
            read_matrix(name)
        with pytest.raises(InputError, match="no variable 'C'; it has A, B, y"):
            read_matrix(name, "C")
        drawn = draw(f"matrix[file={name},variable=B]", m=M, n=N, k=3)
        np.testing.assert_array_equal(drawn.A, 2 * VALUES)


def pickled(path):
    np.save(path, np.array([[1, "a"], [{}, 2]], dtype=object))


REFUSED = {
    "missing.npy": (lambda path: None, "No such file"),
    "A.xlsx": (lambda path: path.write_bytes(b"x"), "a matrix is read from .npy, .npz, .csv"),
    "empty.npy": (lambda path: path.write_bytes(b""), "cannot be read as .npy"),
    "short.npy": (
        lambda path: (np.save(path, VALUES), path.write_bytes(path.read_bytes()[:-100])),
        "cannot be read as .npy",
    ),
    "short.npz": (
        lambda path: (np.savez(path, VALUES), path.write_bytes(path.read_bytes()[:-100])),
        "cannot be read as .npz",
    ),
    "objects.npy": (pickled, "cannot be read as .npy: Object arrays"),
    "vector.npy": (lambda path: np.save(path, VALUES[0]), r"shape \(40,\), not a matrix"),
    "none.npy": (lambda path: np.save(path, VALUES[:0]), r"shape \(0, 40\), not a matrix"),
    "text.npy": (lambda path: np.save(path, [["a", "b"]]), "real numbers, not text"),
    "nan.npy": (lambda path: np.save(path, VALUES / [*[1.0] * (N - 1), np.nan]), "NaN or infinite"),
    "empty.csv": (lambda path: path.write_text(""), "is empty"),
    "ragged.csv": (lambda path: path.write_text("1,2\n3,4,5\n"), "cannot be read as .csv"),
    "words.csv": (lambda path: path.write_text("a,b\n1,two\n"), "cannot be read as .csv"),
    "gap.csv": (lambda path: path.write_text("a,b\n1,\n2,3\n"), "cannot be read as .csv"),
    "labels.csv": (lambda path: path.write_text("a,b,c\n1,2\n3,4\n"), "3 labels over 2 columns"),
    "short.mtx": (
        lambda path: path.write_text(
            "%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 1\n"
        ),
        "cannot be read as .mtx",
    ),
    "short.mat": (
        lambda path: (scipy.io.savemat(path, {"A": VALUES}), path.write_bytes(b"MATLAB 5.0 " * 30)),
        "cannot be read as .mat",
    ),
    "scalars.mat": (
        lambda path: scipy.io.savemat(path, {"a": 1.0, "y": VALUES[:, :1]}),
        r"a \(1, 1\), y \(20, 1\): none is a matrix",
    ),
    "nothing.mat": (lambda path: scipy.io.savemat(path, {}), "holds nothing: none is a matrix"),
    "zero.npy": (lambda path: np.save(path, VALUES * (np.arange(N) != 7)), "column 7 is zero"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_matrix_is_one_line(tmp_path, name):
    write, message = REFUSED[name]
    write(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match=message) as refused:
            choose_problem(f"matrix[file={name}]")
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def test_columns_that_are_one_atom_are_named(tmp_path):
    pd.DataFrame(VALUES).assign(copy=-3 * VALUES[:, 4], other=VALUES[:, 5]).to_csv("A.csv")
    with pytest.warns(
        UserWarning, match=r"columns 'copy' \(40\), 'other' \(41\) are the same atom"
    ):
        choose_problem("matrix[file=A.csv]")


def test_a_command_says_which_columns_are_one_atom():
    np.save("A.npy", np.hstack([VALUES, 2 * VALUES[:, :1]]))
    words = "support-distance -p matrix[file=A.npy] -a omp --ks 2 --trials 2 -j 1 -o r".split()
    ran = subprocess.run(
        [sys.executable, "-m", "sparsebench", *words], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("the same atom") == 1
    assert "warning: A.npy: column 40 is the same atom as another" in ran.stderr


def test_rows_are_drawn_anew_in_every_trial(tmp_path):
    np.save("A.npy", VALUES)
    chosen = choose_problem("matrix[file=A.npy,subsample=rows,columns=unit]")
    assert not is_fixed(chosen)
    seen = set()
    for trial in range(20):
        A = draw_dictionary(chosen, 12, N, trial, 0).A
        np.testing.assert_allclose(np.linalg.norm(A, axis=0), 1)
        scale = np.linalg.norm(VALUES, axis=0)
        # Which rows of the matrix these are: those whose directions agree column by column.
        ratios = np.abs(A[:, None, :] * scale) >= np.abs(VALUES[None]) - 1e-12
        same_sign = (np.sign(A[:, None, :]) == np.sign(VALUES[None])).all(axis=2)
        rows = np.flatnonzero((ratios.all(axis=2) & same_sign).any(axis=0))
        assert len(rows) == 12
        seen.add(tuple(rows))
    assert len(seen) == 20
    with pytest.raises(InputError, match="not m = 21, n = 40: no more are there"):
        draw_dictionary(chosen, 21, N, 0, 0)
    with pytest.raises(InputError, match="not m = 12, n = 40: subsample=rows draws fewer"):
        draw("matrix[file=A.npy]", m=12, n=N, k=2)


def test_decaying_amplitudes_follow_their_law():
    x = draw("gaussian[amplitudes=decaying]", m=30, n=60, k=8).x
    values = np.sort(np.abs(x[x != 0]))[::-1]
    np.testing.assert_allclose(values, 1 / np.arange(1, 9))
    signs = [draw("gaussian[amplitudes=decaying]", m=30, n=60, k=8, trial=t).x for t in range(200)]
    assert abs(np.sign(np.sum(signs, axis=1)).mean()) < 0.25


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_both_diagrams_take_their_sizes_from_the_file(tmp_path):
    np.save("A.npy", VALUES)
    common = ("-a", "omp", "-j", "1", "-o", tmp_path / "r", "--quiet")
    run("support-distance", "-p", "matrix[file=A.npy]", "--trials", "4", *common)
    rows = pd.read_csv(tmp_path / "r" / "distances.csv")
    assert set(rows["m"]) == {M} and set(rows["n"]) == {N}
    assert rows["k"].tolist() == [5, 10, 15, 20]
    run("phase-transition", "-p", "matrix[file=A.npy]", "--max-trials", "10", *common)
    rows = pd.read_csv(tmp_path / "r" / "thresholds.csv")
    assert set(rows["m"]) == {M} and set(rows["n"]) == {N}
    drawn = "matrix[file=A.npy,subsample=rows]"
    run("phase-transition", "-p", drawn, "--max-trials", "10", *common)
    rows = pd.read_csv(tmp_path / "r" / "thresholds.csv")
    assert sorted(set(rows["m"])) == [2, 4, 8, 12, 16, 20]
    run("instance", "-p", "matrix[file=A.npy]", "--k", "2", "-a", "omp", "-o", tmp_path / "r")
    assert (tmp_path / "r" / "instance.png").stat().st_size > 10_000
    with pytest.raises(InputError, match="has 40 atoms: leave out --n, or say --n 40"):
        run("support-distance", "-p", "matrix[file=A.npy]", "--n", "30", *common)
    with pytest.raises(InputError, match="not m = 12, n = 40: subsample=rows"):
        run("phase-transition", "-p", "matrix[file=A.npy]", "--ratios", "0.3", *common)


def test_a_matrix_without_a_file_says_how_to_give_one():
    with pytest.raises(InputError, match=r"matrix needs a file, as in -p 'matrix\[file=A.npy\]'"):
        choose_problem("matrix")
    assert "matrix" in [entry.name for entry in sparsebench.problems.problems()]
