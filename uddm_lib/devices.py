"""What a device can do: rate of matrix products, fast bfloat16, a compiler, denormal numbers."""

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

import torch

__all__ = [
    "chosen",
    "compiled",
    "computed_in",
    "default_device",
    "flushed_denormals",
    "has_fast_bf16",
    "matmul_rate",
]

_Function = TypeVar("_Function", bound=Callable)

# Instructions that multiply bfloat16 matrices: x86 (AMX, AVX-512) and ARM (NEON, SVE).
_BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16")


def default_device() -> torch.device:
    """A GPU of CUDA (or ROCm) if there is one, else the CPU; others, as MPS, lack float64."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def chosen(name: str) -> torch.device:
    """The device that an option names: ``auto`` (:func:`default_device`), ``cpu`` or ``cuda``.

    Raises:
        ValueError: if it is another, or there is no such GPU here.
    """
    if name == "auto":
        return default_device()
    if name not in ("cpu", "cuda"):
        why = ": float64 is needed, which it lacks" if name == "mps" else ""
        raise ValueError(f"device={name!r} is not allowed{why}; allowed are auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device='cuda' is not there: PyTorch sees no GPU; allowed are auto, cpu")
    return torch.device(name)


def matmul_rate(
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    shape: tuple[int, int, int] | None = None,
    repeats: int = 5,
) -> float:
    """Floating-point operations per second of a matrix product, measured with PyTorch's threads.

    Args:
        device: where the matrices are.
        dtype: data type of the matrices.
        shape: (m, k, n) of the product (m, k) @ (k, n); the default takes some milliseconds.
        repeats: number of products that are timed; their median counts.
    """
    m, k, n = shape or ((8192, 8192, 8192) if device.type == "cuda" else (2048, 1024, 1024))
    a = torch.ones(m, k, dtype=dtype, device=device)
    b = torch.ones(k, n, dtype=dtype, device=device)
    seconds = []
    for _ in range(repeats + 1):
        _wait(device)
        started = time.perf_counter()
        a @ b
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * m * k * n / statistics.median(seconds[1:])  # the first loads the kernel


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@functools.cache
def has_fast_bf16(device: torch.device) -> bool:
    """Whether ``device`` has instructions for matrix products in bfloat16; says once if not.

    The answer depends on the hardware alone. Without such instructions a CPU emulates bfloat16,
    which is slower than float32. A CPU counts as without where PyTorch does not list its
    instructions (before it had ``torch.cpu.get_capabilities``).
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        capabilities: dict = getattr(torch.cpu, "get_capabilities", dict)()
        fast = any(capabilities.get(name, False) for name in _BF16_INSTRUCTIONS)
    else:
        fast = False
    if not fast:
        print(
            f"this {device.type} device has no fast bfloat16: computing in float32",
            flush=True,
        )
    return fast


def computed_in(precision: str, device: torch.device) -> str:
    """The precision that is really used, ``bf16`` or ``fp32``, where ``precision`` is wanted."""
    return "bf16" if precision == "bf16" and has_fast_bf16(device) else "fp32"


def compiled(function: _Function, device: torch.device) -> _Function:
    """The compiled function, or ``function`` itself if torch.compile does not work here.

    The reason is printed in that case.
    """
    try:
        torch.compile(lambda a: a.sin() + 1)(torch.zeros(8, device=device))
    except Exception as error:  # of many types: a missing C++ compiler, Triton, headers
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        print(
            f"torch.compile does not work here ({reason}): training eagerly, which is slower",
            flush=True,
        )
        return function
    return cast(_Function, torch.compile(function))


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Let the CPU take denormal numbers for zero inside; also a decorator.

    Processors may compute slower with them. The setting is the thread's. Threads that PyTorch
    started before keep theirs, and a processor without such a setting is left as it is.
    """
    before = bool(torch.tensor([1e-40]).mul(1.0) == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
