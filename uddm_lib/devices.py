"""What the device at hand does well: its rate of matrix products, fast bfloat16, a compiler for torch.compile."""

import functools
import statistics
import time

import torch

__all__ = ["bf16_helps", "compiled", "default_device", "matmul_rate"]


def default_device():
    """Where networks run: the GPU that CUDA (or ROCm) offers, else the CPU; others, MPS say, have no float64."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def matmul_rate(device, dtype=torch.float32, shape=None, repeats=5):
    """Floating-point operations per second of a matrix product on ``device``, measured with PyTorch's current threads.

    Args:
        device: a torch.device.
        dtype: of the matrices.
        shape: (m, k, n) of the product (m, k) @ (k, n); by default one that takes the device some milliseconds.
        repeats: products timed one by one, of which the median counts.
    """
    m, k, n = shape or ((8192, 8192, 8192) if device.type == "cuda" else (2048, 1024, 1024))
    a, b = (
        torch.ones(m, k, dtype=dtype, device=device),
        torch.ones(k, n, dtype=dtype, device=device),
    )
    seconds = []
    for _ in range(repeats + 1):
        _wait(device)
        started = time.perf_counter()
        a @ b
        _wait(device)
        seconds.append(time.perf_counter() - started)
    return 2 * m * k * n / statistics.median(seconds[1:])  # the first loads the kernel


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@functools.cache
def bf16_helps(device):
    """Whether matrix products in bfloat16 are faster than in float32; says so if not (on some CPUs, much slower)."""
    if device.type == "cpu":
        shape = 2048, 128, 512  # of a small network's layers
        helps = matmul_rate(device, torch.bfloat16, shape) > matmul_rate(
            device, torch.float32, shape
        )
    else:
        helps = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if not helps:
        print(
            f"bfloat16 is not faster than float32 on this {device.type} device: staying in float32",
            flush=True,
        )
    return helps


def compiled(function, device):
    """The compiled function, or the function itself, with a word on why, where torch.compile finds no compiler."""
    try:
        torch.compile(lambda a: a.sin() + 1)(torch.zeros(8, device=device))
    except (
        Exception
    ) as error:  # the backend raises many types: a missing C++ compiler, Triton, headers
        reason = str(error).strip().splitlines()[0]
        print(
            f"torch.compile does not work here ({reason}): training eagerly, which is slower",
            flush=True,
        )
        return function
    return torch.compile(function)
