"""What no couplings of a binary memory can exceed: the largest margins, and Cover's count."""

import math
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from uddm_lib._checks import positive_integer
from uddm_lib.theory._arguments import States, check_positive

__all__ = ["cover_probability", "gardner_margin", "maximum_margins"]


def gardner_margin(load: float) -> float:
    """Largest margin kappa that random patterns allow for N -> infinity (Gardner).

    It solves load ((1 + kappa^2) Phi(kappa) + kappa phi(kappa)) = 1, and is negative above load 2.

    Args:
        load: P / N, positive.
    """
    check_positive("load", load)

    def excess(kappa: float) -> float:
        area = (1 + math.erf(kappa / math.sqrt(2))) / 2
        density = math.exp(-kappa * kappa / 2) / math.sqrt(2 * math.pi)
        return load * ((1 + kappa * kappa) * area + kappa * density) - 1

    low, high = -20.0, 1 + 2 / math.sqrt(load)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) > 0 else (middle, high)
    return (low + high) / 2


def cover_probability(count: int, inputs: int) -> float:
    """Chance that a neuron can learn random patterns without an error (Cover 1965).

    It is 2^(1 - P) sum_{k < inputs} C(P - 1, k): 1/2 at P = 2 inputs, a step there for
    N -> infinity. In a memory of N neurons each has N - 1 inputs.

    Args:
        count: number P of patterns.
        inputs: neurons that the neuron listens to.
    """
    positive_integer("count", count)
    positive_integer("inputs", inputs)
    return sum(math.comb(count - 1, k) for k in range(min(inputs, count))) / 2 ** (count - 1)


def maximum_margins(patterns: States, neurons: Iterable[int]) -> Float[Tensor, "neurons"]:
    """Largest smallest margin (eq. (7)) that couplings without diagonal can give to patterns.

    A hard-margin support vector machine finds it. Each pattern is given together with its negative,
    which takes the bias out of scikit-learn's.

    Args:
        patterns: states of shape (P, N), separable.
        neurons: indices of the neurons to solve.

    Returns:
        A float64 margin per neuron.

    Raises:
        ImportError: if scikit-learn is not installed.
    """
    try:
        from sklearn.svm import SVC
    except ImportError as error:
        raise ImportError(
            "maximum_margins needs scikit-learn: pip install 'uddm-companion[theory]'"
        ) from error
    solutions = []
    for neuron in neurons:
        aligned = (patterns * patterns[:, neuron, None]).double()
        inputs = torch.cat([aligned[:, :neuron], aligned[:, neuron + 1 :]], 1).numpy()
        labels = [1] * len(inputs) + [-1] * len(inputs)
        machine = SVC(kernel="linear", C=1e8, tol=1e-6)
        machine.fit(np.concatenate([inputs, -inputs]), labels)
        direction = machine.coef_[0]
        solutions.append((inputs @ direction).min() / np.linalg.norm(direction))
    return torch.tensor(solutions, dtype=torch.float64)
