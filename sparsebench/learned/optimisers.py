"""Adam and plain gradient descent, step by step as torch takes them.

The first optimiser that torch makes in a process loads its compiler, four seconds and 900 modules
before the first step of a training that takes as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_DECAY_OF_MEAN, _DECAY_OF_SQUARE, _SMALL = 0.9, 0.999, 1e-8


class GradientDescent:
    """Gradient descent: w ← w - rate · gradient.

    Parameters
    ----------
    parameters : iterable of Tensor
        Those without a gradient are left as they are.
    rate : float
    """

    def __init__(self, parameters: Iterable[Tensor], rate: float) -> None:
        self.parameters, self.rate = list(parameters), rate
        #: What is kept from step to step, a tuple a parameter.
        self.state: list[Any] = [None for _ in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Move each parameter, and forget its gradient."""
        with torch.no_grad():
            for place, parameter in enumerate(self.parameters):
                if parameter.grad is not None:
                    self._move(place, parameter, parameter.grad)
                    parameter.grad = None

    def _move(self, place: int, parameter: Tensor, gradient: Tensor) -> None:
        parameter.add_(gradient, alpha=-self.rate)


class Adam(GradientDescent):
    """Adam: w ← w - rate · mean / (sqrt(square) + 1e-8), of gradients, without their bias to zero.

    References
    ----------
    Kingma and Ba, Adam: a method for stochastic optimization, ICLR 2015, arXiv:1412.6980.
    """

    def _move(self, place: int, parameter: Tensor, gradient: Tensor) -> None:
        if self.state[place] is None:
            self.state[place] = 0, torch.zeros_like(parameter), torch.zeros_like(parameter)
        count, mean, square = self.state[place]
        count += 1
        mean.lerp_(gradient, 1 - _DECAY_OF_MEAN)
        square.mul_(_DECAY_OF_SQUARE).addcmul_(gradient, gradient, value=1 - _DECAY_OF_SQUARE)
        size = (square.sqrt() / (1 - _DECAY_OF_SQUARE**count) ** 0.5).add_(_SMALL)
        parameter.addcdiv_(mean, size, value=-self.rate / (1 - _DECAY_OF_MEAN**count))
        self.state[place] = count, mean, square
