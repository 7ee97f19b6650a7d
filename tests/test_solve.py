"""`solve`, `Dictionary` and the registry: what good and bad input get."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import scipy.sparse
import structured
from scipy.linalg import LinAlgError

import sparsebench
from sparsebench import registry
from sparsebench.types import InputError

RNG = np.random.default_rng(0)
A = RNG.standard_normal((20, 30))
Y = A[:, 3] - A[:, 8]
# Those that are told k, and not the support: `test_told.py` has the others.
UNTOLD = [e for e in sparsebench.algorithms() if e.ready and e.takes_k and not e.accepts("support")]


def test_result_of_one_signal():
    result = sparsebench.solve("omp", A, Y, 2)
    assert result.x.shape == (30,)
    assert result.support.tolist() == [3, 8]
    assert result.n_iter == 2
    assert result.status == "converged"
    assert result.seconds > 0


def test_a_column_is_a_batch_of_one():
    result = sparsebench.solve("omp", A, Y[:, None], 2)
    assert result.x.shape == (30, 1)
    assert result.n_iter.shape == (1,)
    with pytest.raises(InputError, match="one signal"):
        _ = result.support


def test_a_dictionary_computes_its_quantities_once_and_copies():
    mine = A.copy()
    dictionary = sparsebench.Dictionary(mine)
    gram = dictionary.gram
    mine[:] = 0
    assert dictionary.gram is gram
    np.testing.assert_allclose(dictionary.A, A)
    np.testing.assert_allclose(gram, A.T @ A)
    np.testing.assert_allclose(
        dictionary.squared_spectral_norm, np.linalg.norm(A, 2) ** 2, rtol=1e-12
    )
    cosines = np.abs(A.T @ A / np.outer(*[np.linalg.norm(A, axis=0)] * 2))
    np.fill_diagonal(cosines, 0)
    np.testing.assert_allclose(dictionary.coherence, cosines.max())
    with pytest.raises(ValueError, match="read-only"):
        dictionary.A[0, 0] = 1.0


@pytest.mark.parametrize("name", structured.DICTIONARIES)
def test_the_spectral_norm_of_a_structured_dictionary(name):
    """Equal eigenvalues, as of an orthonormal basis, make LAPACK's search for one of them fail."""
    for trial in range(10 if name == "orthonormal" else 1):
        A, _, _ = structured.draw(name, trial)
        top = sparsebench.Dictionary(A).squared_spectral_norm
        np.testing.assert_allclose(top, np.linalg.svd(A)[1][0] ** 2, rtol=1e-12)


def test_what_lapack_gives_up_on_is_one_line(monkeypatch):
    def fail(*_, **__):
        raise LinAlgError("Internal Error.")

    monkeypatch.setattr(scipy.linalg, "eigvalsh", fail)
    with pytest.raises(InputError, match="iht cannot factor this dictionary"):
        sparsebench.solve("iht", A, Y, 2)


def test_singular_values_come_by_qr_iteration_where_divide_and_conquer_fails(monkeypatch):
    real = scipy.linalg.svd

    def fail(*arguments, lapack_driver="gesdd", **options):
        if lapack_driver == "gesdd":
            raise LinAlgError("SVD did not converge")
        return real(*arguments, lapack_driver=lapack_driver, **options)

    monkeypatch.setattr(scipy.linalg, "svd", fail)
    left, values, right = sparsebench.Dictionary(A).svd
    np.testing.assert_allclose((left * values) @ right, A, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1.0, 1e150, 1e300])
def test_a_scaled_dictionary_keeps_its_array(scale):
    dictionary = sparsebench.Dictionary(scale * np.eye(3))
    assert np.array_equal(dictionary.A, scale * np.eye(3))
    assert np.isfinite(dictionary.gram).all()


@pytest.mark.parametrize("name", ["omp", "htp"])
@pytest.mark.parametrize("signals", [Y, np.stack([Y, Y], axis=1)])
def test_an_estimate_beyond_double_precision_is_refused(name, signals):
    with pytest.raises(InputError, match="A is too small for this y"):
        sparsebench.solve(name, 1e-300 * A, 1e150 * signals, 2)


def with_nan(array):
    array = np.array(array, dtype=float)
    array.flat[3] = np.nan
    return array


@pytest.mark.parametrize(
    ("name", "A", "y", "k", "options", "words"),
    [
        ("opm", A, Y, 2, {}, "did you mean 'omp'"),
        ("zzz", A, Y, 2, {}, "the algorithms are"),
        ("iht", A, Y, 2, {"stp": "1/L"}, "did you mean 'step'"),
        ("iht", A, Y, 2, {"step": "fast"}, "cannot read the step 'fast'"),
        ("iht", A, Y, 2, {"step": "-1"}, "cannot read the step"),
        ("iht", A, Y, 2, {"max_iter": "many"}, "type int"),
        ("iht", A, Y, 2, {"max_iter": 2.5}, "type int"),
        ("iht", A, Y, 2, {"max_iter": 0}, "max_iter must be at least 1"),
        ("iht", A, Y, 2, {"max_iter": float("inf")}, "type int"),
        ("iht", A, Y, 2, {"max_iter": np.array([3, 4])}, "type int"),
        ("iht", A, Y, 2, {"max_iter": np.ma.masked}, "type int"),
        ("iht", A, Y, 2, {"max_iter": "inf"}, "type int"),
        ("omp", A, Y, 2, {"tol": 10**400}, "type float"),
        ("omp", A, Y, 2, {"tol": 1e-3j}, "type float"),
        ("omp", A, Y, 2, {"tol": True}, "type float"),
        ("omp", A, Y, np.zeros((3, 1)), {}, "k must be a whole number"),
        (None, A, Y, 2, {}, "a name is a text"),
        ([], A, Y, 2, {}, "a name is a text"),
        ("omp", A, Y, 2, {"tol": -1.0}, "tol must be"),
        ("omp", A, Y, 2, {"tol": float("nan")}, "tol must be"),
        ("fista", A, Y, 2, {"lam": 2.0}, "fraction"),
        ("niht", A, Y, 2, {"c": 0.5}, "kappa > 1 / (1 - c)"),
        ("iht", A, Y, 2, {"max_iter": 10**12}, "max_iter must be at most"),
        ("omp", A, Y, 0, {}, "k must lie in 1 .. min(m, n) = 20"),
        ("omp", A, Y, 21, {}, "k must lie in"),
        ("omp", A, Y, 2.0, {}, "whole number"),
        ("omp", A, Y, True, {}, "whole number"),
        ("omp", with_nan(A), Y, 2, {}, "A holds NaN"),
        ("omp", A, with_nan(Y), 2, {}, "y holds NaN"),
        ("omp", A, Y * np.inf, 2, {}, "y holds NaN or infinite"),
        ("omp", A, Y[:-1], 2, {}, "y must have shape (20,)"),
        ("omp", A, Y[None], 2, {}, "y must have shape"),
        ("omp", A, np.zeros((20, 2, 2)), 2, {}, "y must have shape"),
        ("omp", A, np.zeros(0), 2, {}, "y must have shape"),
        ("omp", np.zeros((0, 5)), np.zeros(0), 1, {}, "A must have shape"),
        ("omp", A[0], Y, 2, {}, "A must have shape"),
        ("bp", A * 1j, Y, 2, {}, "real numbers"),
        ("omp", A, ["a"] * 20, 2, {}, "real numbers"),
        ("omp", [[1.0, 2.0], [3.0]], Y, 2, {}, "real numbers"),
        ("omp", None, Y, 2, {}, "real numbers"),
        ("omp[", A, Y, 2, {}, "cannot read"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_input_is_one_clear_line(name, A, y, k, options, words):
    with pytest.raises(InputError) as caught:
        sparsebench.solve(name, A, y, k, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def masked(values, hidden=True):
    """A masked array with its third entry masked, or none."""
    mask = np.zeros(values.shape, dtype=bool)
    mask.flat[2] = hidden
    return np.ma.array(values, mask=mask)


def tensor(values, **how):
    torch = pytest.importorskip("torch")
    return torch.tensor(values, dtype=torch.float64, **how)


def pandas_of(values, **how):
    return (pd.DataFrame if values.ndim == 2 else pd.Series)(values, **how)


NOT_ARRAYS = {
    "masked": (masked, "masked entries: fill or drop them"),
    "masked integers": (lambda v: masked(np.rint(v).astype(int)), "masked entries"),
    "a list with masked": (lambda v: [masked(v), v], "masked entries"),
    "a list with a masked number": (lambda v: [*v.tolist()[:-1], np.ma.masked], "masked entries"),
    "NaN": (with_nan, "NaN or infinite"),
    "infinite as a double": (lambda v: v.astype(np.longdouble) * 2.0**1000 * 2.0**100, "infinite"),
    "nullable with NA": (lambda v: pandas_of(with_nan(v), dtype="Float64"), ""),
    "pandas objects": (lambda v: pandas_of(v, dtype=object), ".astype(float)"),
    "sparse matrix": (scipy.sparse.csr_matrix, ".toarray()"),
    "sparse array": (scipy.sparse.coo_array, ".toarray()"),
    "text": (lambda v: v.astype(str), "not text"),
    "dates": (lambda v: v.astype("datetime64[s]"), "not dates"),
    "durations": (lambda v: v.astype("timedelta64[s]"), "not time differences"),
    "fields": (lambda v: np.zeros(v.shape, dtype=[("a", float)]), "one of its fields"),
    "objects": (lambda v: v.astype(object), ".astype(float)"),
    "ragged": (lambda v: [v.tolist(), [1.0]], "inhomogeneous"),
    "a function": (lambda v: sum, "Python objects"),
    "a set": (lambda v: {1.0, 2.0}, "Python objects"),
    "tensor with a gradient": (lambda v: tensor(v, requires_grad=True), "detach()"),
    "tensors with a gradient": (lambda v: [tensor(v, requires_grad=True)], "detach()"),
    "tensor elsewhere": (lambda v: tensor(v, device="meta"), ".cpu()"),
}
ARRAYS = {
    "nothing masked": lambda v: masked(v, hidden=False),
    "pandas": pandas_of,
    "nullable": lambda v: pandas_of(v, dtype="Float64").astype(float),
    "tensor": tensor,
    "list": lambda v: v.tolist(),
    "tuple": tuple,
    "other byte order": lambda v: v.astype(v.dtype.newbyteorder()),
    "extended precision": lambda v: v.astype(np.longdouble),
}


def entries():
    """Where an array is given: the right one, and what is made of another."""
    spike = np.zeros(30)
    spike[3] = 1.0
    mine = sparsebench.Dictionary(A)
    return {
        "A": (A, lambda v: sparsebench.solve("omp", v, Y, 2).x),
        "y": (Y, lambda v: sparsebench.solve("omp", A, v, 2).x),
        "start": (spike, lambda v: sparsebench.solve("sea", A, Y, 2, start=v).x),
        "Dictionary": (A, lambda v: sparsebench.Dictionary(v).A),
        "x of Instance": (spike, lambda v: sparsebench.Instance(mine, v, Y).x),
        "y of Instance": (Y, lambda v: sparsebench.Instance(mine, spike, v).y),
    }


@pytest.mark.parametrize("kind", NOT_ARRAYS)
@pytest.mark.parametrize("entry", entries())
def test_what_is_no_array_of_real_numbers_is_refused(entry, kind):
    values, use = entries()[entry]
    make, words = NOT_ARRAYS[kind]
    if entry == "A" and kind.startswith("sparse"):  # one by its products
        np.testing.assert_allclose(use(make(values)), use(values), atol=1e-14)
        return
    with pytest.raises(InputError) as caught:
        use(make(values))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("entry", entries())
def test_what_holds_the_same_numbers_is_taken(entry, kind):
    values, use = entries()[entry]
    assert np.array_equal(use(ARRAYS[kind](values)), use(values))


def test_a_masked_support_is_refused_and_integers_of_any_kind_are_taken():
    for right in ([3, 8], np.array([8, 3], dtype=np.uint8), pd.Series([3, 8]), (3, 8)):
        x = sparsebench.solve("oracle", A, Y, 2, support=right).x
        np.testing.assert_allclose(x[[3, 8]], [1.0, -1.0])
    for wrong in (np.ma.array([3, 8], mask=[0, 1]), [[3], [3, 8]], [3.0, 8.0], None, "38", [3, 3]):
        with pytest.raises(InputError, match="support"):
            sparsebench.solve("oracle", A, Y, 2, support=wrong)


@pytest.mark.parametrize("scales", [(1e-29, 1e-300), (1e-200, 1e-200), (1e100, 1e-200)])
def test_tiny_signals_are_not_taken_for_zero(scales):
    for entry in UNTOLD:
        x = sparsebench.solve(entry.name, scales[0] * A, scales[1] * Y, 2).x
        np.testing.assert_allclose(
            x[[3, 8]] / (scales[1] / scales[0]), sparsebench.solve(entry.name, A, Y, 2).x[[3, 8]]
        )


def test_no_signals_at_all():
    assert sparsebench.solve("omp", A, np.zeros((20, 0)), 2).x.shape == (30, 0)


def test_a_signal_orthogonal_to_every_atom_gives_zero():
    eye = np.eye(4)[:, :3]
    for entry in UNTOLD:
        result = sparsebench.solve(entry.name, eye, np.array([0.0, 0, 0, 5.0]), 2)
        assert not result.x.any()
        assert not sparsebench.solve(entry.name, np.zeros((3, 5)), np.ones(3), 2).x.any()


def test_the_recipe_of_a_choice_has_every_option_and_its_label_only_the_changed_ones():
    (chosen,) = registry.choose_algorithms("htp[step=1.8/L]")
    assert chosen.label == "htp[step=1.8/L]"
    assert dict(chosen.options) == {"step": "1.8/L", "max_iter": 1000, "tol": 1e-10}
    (same,) = registry.choose_algorithms("htp[max_iter=1000,step=1.8/L],htp[step=1.8/L]")
    assert same == chosen
    (plain,) = registry.choose_algorithms("htp[step=1]")
    assert plain.label == "htp"


def test_selection_by_pattern():
    names = [c.name for c in registry.choose_algorithms(["*htp", "omp,iht[step=1/L]"])]
    assert names == ["htp", "nhtp", "omp", "iht"]
    for text, words in (
        ("x*", "unknown"),
        ("", "no algorithm"),
        (3, "named by a text or several"),
        ([None], "a name is a text"),
        ("omp[tol]", "option=value"),
        ("omp]", "unbalanced"),
        ("omp[tol=]", "option=value"),
    ):
        with pytest.raises(InputError, match=words):
            registry.choose_algorithms(text)


def test_a_decorated_function_is_an_algorithm():
    @sparsebench.algorithm("mean-of-atoms", told=("k",))
    def mine(A, y, k, *, flip=False):
        """Pick the first atoms."""
        x = np.zeros(A.shape[1])
        x[:k] = -1.0 if flip else 1.0
        return x

    try:
        assert sparsebench.solve("mean-of-atoms", A, Y, 2).x[0] == 1.0
        assert sparsebench.solve("mean-of-atoms[flip=true]", A, Y, 2).x[0] == -1.0
        with pytest.raises(InputError, match="taken"):
            sparsebench.algorithm("omp")(mine)
    finally:
        del registry.ALGORITHMS["mean-of-atoms"]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda y, A, k: 0, "must take"),
        (lambda A, y, k, extra: 0, "default value"),
        (lambda A, y, k, *, option=[]: 0, "type str, int"),
    ],
)
def test_functions_that_do_not_fit_are_refused(function, words):
    with pytest.raises(InputError, match=words):
        sparsebench.algorithm("misfit")(function)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return np.full(A.shape[1], np.nan)", "NaN"),
        ("return np.ones(A.shape[1])", "more than k = 2"),
        ("return np.zeros(3)", "shape"),
        ("return None", "shape"),
        ("return [[1.0], [1.0, 2.0]]", "shape"),
        ("return [0.0] * A.shape[1]", "returned a list, not an array"),
        ("import scipy.sparse; return scipy.sparse.coo_array(A[0])", "returned a coo_array"),
        ("return np.ma.array(np.zeros(A.shape[1]), mask=A[0] > 0)", "masked entries"),
        ("return A[0] * 0j", "not complex"),
        ("return A[0].astype(str)", "not text"),
        ("return np.where(A[0] == A[0, 0], np.longdouble(1e300) ** 2, 0)", "infinite"),
        ("return 'x' * 3", "shape"),
    ],
)
def test_what_a_plain_function_returns_is_checked(body, words):
    space = {"np": np}
    exec(f"def broken(A, y, k):\n    {body}", space)
    sparsebench.algorithm("broken")(space["broken"])
    try:
        with pytest.raises(InputError, match=words):
            sparsebench.solve("broken", A, Y, 2)
    finally:
        del registry.ALGORITHMS["broken"]


@pytest.mark.parametrize(
    ("estimates", "words"),
    [
        (np.full((2, 30), np.nan), "NaN"),
        (np.ones((2, 30)), "more than k = 2"),
        (np.zeros(30), "not an array of shape (2, 30)"),
        (np.ma.array(np.zeros((2, 30)), mask=np.eye(2, 30)), "masked entries"),
    ],
)
def test_what_is_returned_for_several_signals_is_checked(estimates, words):
    @sparsebench.algorithm("broken", several=lambda *_: (estimates, np.zeros(2, dtype=int)))
    def broken(dictionary, y, k):
        return np.zeros(30)

    try:
        with pytest.raises(InputError) as caught:
            sparsebench.solve("broken", A, np.stack([Y, Y], axis=1), 2)
        assert words in str(caught.value)
    finally:
        del registry.ALGORITHMS["broken"]


def test_plugins_of_installed_packages_are_found(tmp_path):
    """An entry point is loaded when a name is looked up; a broken one is a warning."""
    (tmp_path / "somepackage.py").write_text(
        "import numpy as np, sparsebench\n"
        "@sparsebench.algorithm('theirs', version='7')\n"
        "def theirs(A, y, k):\n"
        "    return np.zeros(A.shape[1])\n"
    )
    info = tmp_path / "somepackage-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somepackage\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[sparsebench.plugins]\ntheirs = somepackage\nbroken = nothing_there\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import warnings, sparsebench\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    names = [entry.name for entry in sparsebench.algorithms()]\n"
        "assert 'theirs' in names and 'omp' in names, names\n"
        "assert any('broken' in str(w.message) for w in caught)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_import_is_light():
    code = (
        "import sys, sparsebench; "
        "heavy = {'torch', 'matplotlib', 'numba', 'pandas'} & set(sys.modules); "
        "assert not heavy, heavy; "
        "assert callable(sparsebench.solve) and callable(sparsebench.algorithms); "
        "import sparsebench.problems, sparsebench.solvers; "
        "assert len(sparsebench.algorithms()) >= 8; "
        "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
