"""The commands that look closer, at few instances: what is found, how it is explored, the time."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from sparsebench.cli import options, results
from sparsebench.cli.application import command
from sparsebench.errors import check_seed, check_sizes, check_whole
from sparsebench.experiments import presets
from sparsebench.experiments.workloads import choose_workloads
from sparsebench.report import console
from sparsebench.system.stopping import when_stopped


@command(
    "instance",
    "sparsebench instance",
    "sparsebench instance -p 'deconvolution[width=3,snr=30]' --k 10 -a 'omp,sea,ridge'",
    "sparsebench instance -p 'super-resolution[factor=4]' --trial 3",
)
def instance(
    algorithms: options.Algorithms = None,
    problem: options.ProblemText = None,
    n: options.Size = None,
    m: options.Measurements = None,
    k: Annotated[int | None, typer.Option(help="Non-zeros of x*.")] = None,
    trial: Annotated[int, typer.Option(help="Which instance.")] = 0,
    window: Annotated[
        int | None,
        typer.Option(help="Atoms in the region that is enlarged, the one with most spikes."),
    ] = None,
    seed: options.Seed = 0,
    out: options.Out = options.RESULTS,
    plugin: options.Plugins = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw one instance: the signal, the true spikes and what each algorithm finds."""
    preset = presets.INSTANCE
    options.at_least_one("--n", n, preset["n"])
    trial = check_whole("--trial", trial, 0, 10**9)
    check_seed(seed)
    options.load_files(plugin)
    generator = options.problem_named(problem or preset["problem"])
    n = options.atoms(n, generator, preset["n"])
    window = check_whole("--window", min(preset["window"], n) if window is None else window, 1, n)
    m = options.measurements(m, generator, n)
    k = preset["k"] if k is None else k
    check_sizes(m, n, k)
    sizes = {"n": n, "m": m, "k": k, "trial": trial, "seed": seed, "window": window}
    chosen = options.wanted_algorithms(algorithms, plugin, preset["algorithms"], generator)
    from sparsebench.experiments.instance import solutions
    from sparsebench.problems import draw_dictionary, is_complex
    from sparsebench.report import tables
    from sparsebench.run.engine import compile_all

    draw_dictionary(generator, m, n, trial, seed)  # refuses sizes it cannot have
    results.check_out(out)
    if is_complex(generator):
        for one in chosen:
            one.check_complex()
    compile_all(chosen, 1, (), console.news, is_complex(generator))
    found = solutions(generator, chosen, **sizes)
    recipe = {
        "experiment": "instance",
        "problem": generator.recipe,
        "algorithms": [one.recipe for one in chosen],
        **sizes,
    }
    written = results.publish(found, recipe, out / "instance.csv")
    if as_json:
        results.say_rows(found, recipe)
    else:
        tables.print_solutions(found)
    console.say_written(written)


@command(
    "exploration",
    "sparsebench exploration",
    "sparsebench exploration -a 'sea[max_iter=10000],els+sea[step=18/L]' --trials 30",
)
def exploration(
    algorithms: options.Algorithms = None,
    trials: Annotated[int | None, typer.Option(help="Instances of each problem.")] = None,
    seed: options.Seed = 0,
    jobs: options.Workers = None,
    out: options.Out = options.RESULTS,
    plugin: options.Plugins = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw how many supports an exploration meets, and its best residual, as iterations pass."""
    preset = presets.EXPLORATION
    trials = options.at_least_one("--trials", trials, preset["trials"])
    workers = options.worker_count(jobs)
    check_seed(seed)
    options.load_files(plugin)
    chosen = options.wanted_algorithms(algorithms, None, preset["algorithms"])
    from sparsebench.experiments.exploration import SizedProblem, check_explorations, explore
    from sparsebench.run.engine import compile_all, versions_of
    from sparsebench.run.progress import Doing

    workloads = [SizedProblem(*sizes) for sizes in preset["workloads"]]
    check_explorations(chosen, trials)
    results.check_out(out)
    when_stopped("stopped; the same command begins anew")
    versions = versions_of([str(path) for path in plugin or ()])
    compile_all(chosen, workers, versions, console.news)
    with Doing(console.news, "exploring") as doing:
        found = explore(
            chosen,
            workloads,
            trials=trials,
            seed=seed,
            workers=workers,
            plugins=[str(path) for path in plugin or ()],
            report=lambda done, total: doing.update(f"exploring: {done} of {total} instances"),
        )
    recipe = {
        "experiment": "exploration",
        "workloads": [asdict(workload) for workload in workloads],
        "algorithms": [one.recipe for one in chosen],
        "trials": trials,
        "seed": seed,
    }
    written = results.publish(found, recipe, out / "exploration.csv")
    row: Any
    for row in found.drop_duplicates(["problem", "algorithm"]).itertuples():
        if row.failures:
            console.out.print(
                f"{row.algorithm}: {row.failures} of {trials} solves failed: {row.problem}"
            )
    if as_json:
        results.say_rows(found, recipe)
    console.say_written(written)


@command(
    "front",
    "sparsebench front",
    "sparsebench front -a 'omp,sea[max_iter=30],sea[max_iter=300]' -p gaussian --m 250 --k 60",
    "sparsebench front -p 'gaussian[snr=30]' -p 'deconvolution[snr=40]' --success 'f1>=.9'",
)
def front(
    algorithms: options.Algorithms = None,
    problem: Annotated[
        list[str] | None,
        typer.Option("-p", "--problem", metavar="NAME[OPTIONS]", help="One, or several in turn."),
    ] = None,
    n: options.Size = None,
    m: options.Measurements = None,
    k: Annotated[int | None, typer.Option("--k", help="Sparsity.")] = None,
    trials: Annotated[int, typer.Option(help="Instances of each problem.")] = 50,
    success: options.SuccessText = None,
    seed: options.Seed = 0,
    out: options.Out = options.RESULTS,
    plugin: options.Plugins = None,
    time_limit: options.TimeLimit = presets.TIME_LIMIT,
    quiet: options.Quiet = False,
) -> None:
    """Draw which algorithm is best at what price: success against seconds and flops, alone."""
    chosen = presets.FRONT
    options.at_least_one("--n", n, chosen["n"])
    k = options.at_least_one("--k", k, chosen["k"])
    trials = options.at_least_one("--trials", trials)
    time_limit = options.positive_seconds("--time-limit", time_limit)
    met = options.success_named(success)
    check_seed(seed)
    options.load_files(plugin)
    from sparsebench.experiments.front import Place, run, summary

    places = []
    for text in problem or [chosen["problem"]]:
        generator = options.problem_named(text)
        options.check_success(met, generator)
        atoms = options.atoms(n, generator, chosen["n"])
        rows = chosen["m"] if m is None and not problem else m
        place = Place(generator, options.measurements(rows, generator, atoms), atoms, k)
        check_sizes(place.m, place.n, place.k)
        places.append(place)
    wanted = options.wanted_algorithms(algorithms, plugin, chosen["algorithms"])
    results.check_out(out)
    when_stopped("stopped; the same command begins anew")
    from sparsebench.report import tables

    how: dict[str, Any] = {"trials": trials, "time_limit": time_limit, "seed": seed}
    solves = run(wanted, places, met, **how, console=console.news)
    recipe = {
        "experiment": "front",
        "algorithms": [one.recipe for one in wanted],
        "places": [vars(place) | {"problem": place.problem.recipe} for place in places],
        "success": met.text,
        **how,
    }
    written = results.publish(solves, recipe, out / "front.csv")
    tables.print_front(summary(solves))
    console.say_written(written)


@command(
    "timing",
    "sparsebench timing",
    "sparsebench timing --workload gaussian -a 'omp,ista,sklearn-*,spams-*'",
    "sparsebench timing --workload batch --repeats 3 --budget 60",
)
def timing(
    algorithms: options.Algorithms = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(
            "-w",
            "--workload",
            metavar="PATTERNS",
            help="gaussian, gaussian-2000, deconvolution, batch; by default all.",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(help="Rounds in which every algorithm has a turn.")] = 10,
    budget: Annotated[
        float, typer.Option(help="Seconds an algorithm may spend on a workload.")
    ] = 10.0,
    seed: options.Seed = 0,
    out: options.Out = options.RESULTS,
    plugin: options.Plugins = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Time the algorithms, and the published packages that are installed, on one thread."""
    repeats = options.at_least_one("--repeats", repeats)
    budget = options.positive_seconds("--budget", budget)
    workloads = choose_workloads(workload or ())
    check_seed(seed)
    options.load_files(plugin)
    from sparsebench.experiments.timing import run, usual_algorithms
    from sparsebench.report import tables

    chosen = options.wanted_algorithms(algorithms, plugin, ",".join(usual_algorithms()))
    results.check_out(out)
    when_stopped("stopped; the same command begins anew")
    rows = run(chosen, workloads, repeats=repeats, budget=budget, seed=seed, console=console.news)
    recipe = {
        "experiment": "timing",
        "workloads": [asdict(one) for one in workloads],
        "algorithms": [one.recipe for one in chosen],
        "repeats": repeats,
        "budget": budget,
        "seed": seed,
    }
    results.write_csv(rows, recipe, out / "timing.csv")
    if as_json:
        results.say_rows(rows, recipe)
    else:
        tables.print_timing(rows)
    console.say_written([out / "timing.csv"])
