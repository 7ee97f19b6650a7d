"""Is the order of LISTA, LISTA-CP and LISTA-CPSS one of the networks, or of their budgets?

    python tests/studies/unrolling_order.py [--m 20] [--n 40] [--depth 4] [-o unrolling-order.csv]

Each is trained from the iteration, layer by layer and then in rounds over all stages, until a
round leaves the validation error as it is, up to .1 dB. The control: CP begins as the trained CPSS
without its support selection, and LISTA as the unfolded CP, whose codes it then gives exactly, so
that more training of it can only show what LISTA has and CP has not. Weights are kept in the cache;
a study that was stopped continues. 95 % intervals over fresh signals, the same for all.
"""

import argparse
import shlex

import numpy as np
import pandas as pd
import torch

from sparsebench.experiments.learned.unrolling import learning_curves
from sparsebench.experiments.provenance import stated
from sparsebench.learned import weights
from sparsebench.problems import draw_batch, draw_dictionary
from sparsebench.registry import choose_problem
from sparsebench.statistics import decibel_intervals

# Each network, and as which it begins.
CHAINS = (
    ("lista-cpss",),
    ("lista-cp",),
    ("lista",),
    ("lista-cp", "lista-cpss"),
    ("lista", "lista-cp"),
    ("lista", "lista-cp", "lista-cpss"),
)


def recipe(chain, problem, sizes, plan):
    start = recipe(chain[1:], problem, sizes, plan) if len(chain) > 1 else None
    return weights.default_recipe(chain[0], problem, *sizes, plan, start=start)


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("m", 20), ("n", 40), ("depth", 4), ("steps", 300), ("rounds", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--tests", type=int, default=10_000)
    parser.add_argument("-p", "--problem", default="lista[snr=40]")
    parser.add_argument("-o", "--out", default="")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    problem, sizes = choose_problem(chosen.problem), (chosen.m, chosen.n, chosen.depth)
    plan = weights.Plan(
        chosen.batch, 1000, chosen.steps, chosen.rounds, chosen.patience, 50, chosen.rate
    )
    dictionary = draw_dictionary(problem, chosen.m, chosen.n, 0, 0)
    signals, codes = draw_batch(problem, dictionary, chosen.tests, {"use": "test of the order"})
    power, curves, errors = np.square(codes).sum(1), [], {}
    for chain in CHAINS:
        trained = weights.fit(recipe(chain, problem, sizes, plan))
        with torch.no_grad():
            found = trained.network(torch.tensor(signals, dtype=torch.float32)).double().numpy()
        label = " from ".join(chain)
        errors[label] = np.square(found - codes).sum(1)
        (test, lower, upper), _ = decibel_intervals(errors[label], power)
        curve = learning_curves([trained]).assign(chain=label, m=chosen.m, n=chosen.n)
        curves.append(curve.assign(batch=chosen.batch, test=test, lower=lower, upper=upper))
        layers, _ = weights.phases_of(recipe(chain, problem, sizes, plan))
        rounds = curve[curve["phase"] > len(layers)]
        rounds = rounds.groupby((rounds["phase"] - len(layers) - 1) // 3)
        ends = rounds["validation"].min().cummin()
        print(
            f"{label}: {test:.2f} dB [{lower:.2f}, {upper:.2f}] after {trained.record['steps']:,} "
            f"steps, {'' if trained.record['converged'] else 'not '}converged; validation before "
            f"and after each round {rounds['validation'].first().iloc[0]:.2f}, "
            + ", ".join(f"{end:.2f}" for end in ends),
            flush=True,
        )
    rng, draws = np.random.default_rng(0), []
    for _ in range(1000):
        again = rng.integers(0, chosen.tests, chosen.tests)
        one, other = (errors[name][again].sum() for name in ("lista", "lista-cp"))
        draws.append(10 * np.log10(one / other))
    lower, upper = np.percentile(draws, [2.5, 97.5])
    print(f"lista less lista-cp, bootstrap of the signals: [{lower:.2f}, {upper:.2f}] dB")
    if chosen.out:
        made = {
            "experiment": "unrolling order",
            "networks": [recipe(chain, problem, sizes, plan).data() for chain in CHAINS],
            "tests": chosen.tests,
        }
        options = {name: value for name, value in vars(chosen).items() if name != "out"}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = shlex.join(["python", "tests/studies/unrolling_order.py", *words])
        rows = stated(pd.concat(curves), made, command)
        rows.to_csv(chosen.out, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()
