"""Types and checks that the modules of the binary memory share."""

from jaxtyping import Float
from torch import Tensor

States = Float[Tensor, "P N"]  # P states of N neurons, values -1 and +1
Couplings = Float[Tensor, "N N"]  # row i holds what neuron i listens to


def check_positive(name: str, value: float) -> None:
    """Check that a number is above 0.

    Raises:
        ValueError: if it is not.
    """
    if not value > 0:
        raise ValueError(f"{name}={value!r} is not allowed; it must be above 0")


def check_states(name: str, states: States) -> None:
    """Check that a tensor holds states.

    Raises:
        ValueError: if it is not a floating-point matrix of -1 and +1.
    """
    if states.ndim != 2 or not states.is_floating_point() or not (states.abs() == 1).all():
        raise ValueError(
            f"{name} must be a floating-point tensor (P, N) of -1 and +1; "
            f"given is {states.dtype} of shape {tuple(states.shape)}"
        )


def check_memory(couplings: Couplings, states: States) -> None:
    """Check that couplings and states belong together.

    Raises:
        ValueError: if their types or shapes differ, if a neuron listens to itself, or if
            ``states`` holds other values than -1 and +1.
    """
    check_states("states", states)
    size = states.shape[1]
    if couplings.dtype != states.dtype:
        raise ValueError(
            f"couplings is {couplings.dtype} but the states are {states.dtype}; they must be alike"
        )
    if couplings.shape != (size, size):
        raise ValueError(
            f"couplings has shape {tuple(couplings.shape)}; "
            f"states of {size} neurons need {(size, size)}"
        )
    if couplings.diagonal().any():
        raise ValueError(
            "couplings has a diagonal; a neuron does not listen to itself, so J_ii must be 0"
        )
