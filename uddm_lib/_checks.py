"""Checks of arguments, with errors that name the argument, its value and what is allowed."""

import operator

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["integer", "positive_integer", "tokens"]


def positive_integer(name: str, value: object) -> int:
    """Return ``value`` as a positive int.

    Raises:
        ValueError: if it is not an integer (a boolean is none), or below 1.
    """
    number = _index(value)
    if number is None or number < 1:
        raise ValueError(f"{name}={value!r} is not a positive integer")
    return number


def integer(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return ``value`` as an int from ``least`` to ``most``; None sets no upper limit.

    Raises:
        ValueError: if it is not an integer (a boolean is none), or outside the limits.
    """
    number = _index(value)
    if number is None or number < least or (most is not None and number > most):
        allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}={value!r} is not an integer {allowed}")
    return number


def tokens(name: str, x: Int[Tensor, "..."], vocab_size: int) -> None:
    """Check that all token ids are in [0, V).

    Raises:
        ValueError: if one is outside.
    """
    if not x.numel():
        return
    low, high = torch.stack(x.aminmax()).tolist()  # read at once: a GPU waits for each reading
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"{name} holds token ids from {low} to {high}; allowed are 0 to {vocab_size - 1}"
        )


def _index(value: object) -> int | None:
    """``value`` as an int if it is an integer of any library, else None."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # whether it may is the question
    except TypeError:
        return None
