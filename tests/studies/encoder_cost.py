"""The two-stage encoder against iterations at equal error: time of a code, batched and single.

    python tests/studies/encoder_cost.py [--images digits] [--p 128] [--epochs 60]

For each problem (l0-regularised, M-sparse) the encoder of two stages is trained, from zero, and its
prediction error on the test images noted. Then two iterations run until they are as good:

iht         hard thresholding from zero, which is what the encoder unrolls
fista+iht   accelerated proximal gradients for the l1 problem, then two steps of hard thresholding

both in torch, one thread, single precision, on products with the Gram matrix where that is cheaper.
The optimal codes were found from the l1 solution, so that the second one reaches them in the end;
the first may stop at other fixed points. Seconds are of 1,000 codes: all at once, and one by one.
"""

import argparse
import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
import pandas as pd
import torch

from sparsebench.learned import encoders
from sparsebench.learned.encoders import Data, Method, Teaching

COUNTS = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 1000)


class FistaThenHard(torch.nn.Module):
    """`count` steps of FISTA, then two of the hard thresholding of a network."""

    def __init__(self, data, found, problem, count):
        super().__init__()
        self.hard = encoders.network(data, Method("iterative", problem, 2, "l1"), found, 1.0)
        self.D = torch.tensor(found["D"], dtype=torch.float32)
        self.gram = self.D.T @ self.D
        self.step, self.weight, self.count = float(found["step"]), data.l1_weight, count

    def forward(self, y):
        b = y @ self.D
        z = ahead = torch.zeros_like(b)
        momentum = 1.0
        for _ in range(self.count):
            u = ahead + self.step * (b - ahead @ self.gram)
            new = torch.nn.functional.softshrink(u, self.step * self.weight)
            after = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = new + ((momentum - 1) / after) * (new - z)
            z, momentum = new, after
        return self.hard(torch.cat([y, z], 1))


@torch.no_grad()
def first_as_good(build, inputs, targets, goal):
    """Return the first count as good as the goal, or the last, with its network and error."""
    for count in COUNTS:
        built = build(count).eval()
        estimates = torch.cat([built(part) for part in inputs.split(1000)])
        error = encoders.errors(estimates.numpy(), targets)["prediction"]
        if error <= goal:
            break
    return count, built, error


@torch.no_grad()
def seconds(built, inputs):
    return encoders.timed(built, inputs)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", default="digits", choices=["digits", "mnist"])
    parser.add_argument("--p", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--size", type=int)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    size = chosen.size or (8 if chosen.images == "digits" else 32)
    data = Data(images=chosen.images, p=chosen.p, size=size)
    found, (_, test) = encoders.codes(data), encoders.signals(data)
    inputs, rows = torch.from_numpy(test), []
    for problem in ("penalty", "size"):
        teaching = Teaching(epochs=chosen.epochs)
        trained = encoders.compare(data, Method("encoder", problem, 2), teaching)
        targets = found[f"{problem}_test"]
        rows.append((problem, "encoder", 2, trained["prediction"], trained))
        builders = {
            "iht": lambda count, problem=problem: encoders.network(
                data, Method("iterative", problem, count), found, 1.0
            ),
            "fista+iht": lambda count, problem=problem: FistaThenHard(data, found, problem, count),
        }
        for name, build in builders.items():
            count, built, error = first_as_good(build, inputs, targets, trained["prediction"])
            rows.append((problem, name, count, error, seconds(built, inputs)))
    table = pd.DataFrame(
        [
            {
                "problem": problem,
                "method": name,
                "steps": count,
                "error %": error,
                "1,000 codes, ms": 1e3 * taken["seconds"],
                "one by one, ms": 1e3 * taken["seconds_single"],
            }
            for problem, name, count, error, taken in rows
        ]
    )
    print(table.to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main()
