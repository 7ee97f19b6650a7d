"""The command for a user's own signals: what is found in them, and what to believe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sparsebench.cli import options, results
from sparsebench.cli.application import command
from sparsebench.errors import InputError, check_seed, check_sizes
from sparsebench.experiments import presets
from sparsebench.report import console
from sparsebench.system.folders import written_whole


@command(
    "recover",
    "sparsebench recover A.npy y.npy -k 20",
    "sparsebench recover data.mat data.mat --variable A --signals y -k 5 -a 'omp,sea,homotopy'",
)
def recover(
    matrix: Annotated[Path, typer.Argument(metavar="A", help="A file with the m x n dictionary.")],
    measured: Annotated[
        Path, typer.Argument(metavar="Y", help="A file with one signal of length m, or m x B.")
    ],
    k: Annotated[int, typer.Option("-k", "--k", help="Non-zeros of each signal's x.")],
    algorithms: options.Algorithms = None,
    variable: Annotated[str, typer.Option(help="Which matrix in the file of A.")] = "",
    signals: Annotated[str, typer.Option(help="Which array in the file of Y; by default y.")] = "",
    trials: Annotated[int | None, typer.Option(help="Planted signals.")] = None,
    resamples: Annotated[
        int | None, typer.Option(help="Times that the noise of each signal is drawn anew.")
    ] = None,
    seed: options.Seed = 0,
    jobs: options.Workers = None,
    out: options.Out = options.RESULTS,
    plugin: options.Plugins = None,
    time_limit: options.TimeLimit = presets.TIME_LIMIT,
    retry: options.Retry = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Find what each algorithm makes of your own signals, and which of them to believe.

    An algorithm is tried on planted signals, too: on this very dictionary, with as many non-zeros,
    of the sizes found, and as much noise as is left over.
    """
    preset = presets.RECOVER
    trials = options.at_least_one("--trials", trials, preset["trials"])
    resamples = options.at_least_one("--resamples", resamples, preset["resamples"])
    time_limit = options.positive_seconds("--time-limit", time_limit)
    check_seed(seed)
    workers, statuses = options.worker_count(jobs), options.read_statuses(retry)
    for file in (matrix, measured):
        if not file.is_file():
            raise InputError(f"{file}: no such file")
    options.load_files(plugin)
    given = {"file": str(matrix), "variable": variable}
    problem = options.problem_named("matrix", given)
    chosen = options.wanted_algorithms(algorithms, plugin, preset["algorithms"], problem)
    from sparsebench.experiments import recovery
    from sparsebench.problems.files import read_signals
    from sparsebench.report import tables
    from sparsebench.run.engine import compile_all
    from sparsebench.run.progress import Doing
    from sparsebench.types import Dictionary

    n = options.atoms(None, problem, 0)
    own = problem.record.factory(**dict(problem.options))
    m, labels = own.measurements(n), own.labels
    ys = read_signals(measured, m, signals)
    check_sizes(m, n, k)
    results.check_out(out)
    dictionary = Dictionary(own.values)
    if dictionary.is_complex:
        for one in chosen:
            one.check_complex()
        ys = ys.astype(dictionary.dtype)
    elif ys.dtype.kind == "c":
        raise InputError(f"{measured} is complex and {matrix} is real: save A as complex numbers")
    compile_all(chosen, 1, (), console.news, dictionary.is_complex)
    with Doing(console.news, "recovering") as doing:
        found = recovery.find(
            dictionary,
            ys,
            k,
            chosen,
            resamples=resamples,
            seed=seed,
            time_limit=time_limit,
            report=doing.update,
        )
    planted = recovery.signals_like(
        found, given, dictionary, k, chosen, trials=trials, seed=seed, time_limit=time_limit
    )
    report = results.run_stored(planted, out, workers, plugin, "cpu", statuses)
    rows = recovery.table(found, planted, labels, m, k, seed)
    recipe = planted.recipe() | {
        "experiment": "recover",
        "signals": recovery.fingerprint(ys),
        "resamples": resamples,
    }
    written = results.publish(rows, recipe, out / "recover.csv", ("recover",))
    data = out / "recover.json"
    if written or not data.is_file():
        with written_whole(data) as part:
            part.write_text(json.dumps(recovery.as_json(rows), indent=1) + "\n")
        written.append(data)
    if as_json:
        results.say_rows(rows, recipe)
    else:
        tables.print_recovery(rows)
    tables.print_report(report, written, out)
