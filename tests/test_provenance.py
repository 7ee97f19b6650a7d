"""Every committed CSV says what made it: recipe, version, command and sampling rule."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from typer.main import get_command

from sparsebench.cli.application import app
from sparsebench.experiments import provenance
from sparsebench.experiments.phase_transition import PhaseTransition
from sparsebench.experiments.provenance import sampling_rule, stated
from sparsebench.experiments.support_distance import SupportDistance
from sparsebench.registry import choose_algorithms, choose_problem
from sparsebench.seeding import digest

ROOT = Path(__file__).parent.parent
CSVS = sorted((ROOT / "figures").rglob("*.csv"))


@pytest.mark.parametrize("path", CSVS, ids=lambda path: str(path.relative_to(ROOT / "figures")))
def test_a_committed_csv_says_what_made_it(path):
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert set(provenance.COLUMNS) <= set(rows)
    for made in rows[list(provenance.COLUMNS)].drop_duplicates().itertuples(index=False):
        assert re.fullmatch("[0-9a-f]{64}", made.recipe)
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", made.version)
        program, first, *words = shlex.split(made.command)
        if program == "python":
            assert (ROOT / first).is_file()
        else:
            assert program == "sparsebench"
            get_command(app).commands[first].make_context(first, words)
        own = rows[rows["recipe"] == made.recipe]
        counts = re.fullmatch(r"(\d+) (trials a point|trials at each k|fresh signals)", made.rule)
        if counts and "trials" in own:
            assert set(own["trials"]) == {counts[1]}
        adaptive = re.search(r"or (\d+) trials are spent", made.rule)
        if adaptive and "half_width" in own:
            most = own["trials"].astype(int) // 6  # each trial is solved at up to six k
            assert most.max() <= int(adaptive[1])


def test_every_experiment_has_a_rule():
    code = "".join(path.read_text() for path in (ROOT / "sparsebench").rglob("*.py"))
    named = set(re.findall(r'"experiment": "([\w -]+)"', code))
    assert {"phase-transition", "study", "timing", "comparison"} <= named
    assert named <= set(provenance._RULES)


def test_the_rule_is_that_of_the_run():
    sizes = {"n": 40, "seed": 0, "time_limit": 60.0}
    chosen, problem = choose_algorithms("omp"), choose_problem("gaussian")
    widths = {0.95: 1.5, 0.5: 3.0}

    def diagram(**more):
        return PhaseTransition(chosen, problem, ms=[20], half_widths=widths, **sizes, **more)

    adaptive = diagram(max_trials=70, grid=0).recipe()
    said = sampling_rule(adaptive)
    assert "half-widths are 1.5 and 3 in k or 70 trials" in said
    assert f"rule {adaptive['rule']}" in said
    assert sampling_rule(diagram(max_trials=70, grid=9).recipe()) == "9 trials at every k"
    curve = SupportDistance(chosen, problem, m=20, ks=[2], trials=7, **sizes)
    assert sampling_rule([curve.recipe(), curve.recipe()]) == "7 trials at each k"
    rows = stated(pd.DataFrame({"a": [1, 2]}), curve.recipe(), "sparsebench x")
    assert set(rows["recipe"]) == {digest(curve.recipe())}
    assert list(rows) == ["a", *provenance.COLUMNS]
