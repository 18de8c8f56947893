"""What the device at hand does well: fast bfloat16 products, a compiler for torch.compile."""

import timeit

import torch

__all__ = ["bf16_helps", "compiled"]


def bf16_helps(device):
    """Whether matrix products in bfloat16 are faster than in float32; says so if not (on some CPUs, much slower)."""
    if device.type == "cpu":
        seconds = []
        for dtype in (torch.float32, torch.bfloat16):
            a, b = torch.ones(2048, 128, dtype=dtype), torch.ones(128, 512, dtype=dtype)
            seconds.append(min(timeit.repeat(lambda a=a, b=b: a @ b, number=3, repeat=5)))
        helps = seconds[1] < seconds[0]
    else:
        helps = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if not helps:
        print(f"bfloat16 is not faster than float32 on this {device.type} device: training in float32", flush=True)
    return helps


def compiled(model):
    """The compiled model, or the model itself, with a word on why, where torch.compile finds no compiler."""
    try:
        torch.compile(lambda a: a.sin() + 1)(torch.zeros(8, device=next(model.parameters()).device))
    except Exception as error:  # the backend raises many types: a missing C++ compiler, Triton, headers
        reason = str(error).strip().splitlines()[0]
        print(f"torch.compile does not work here ({reason}): training eagerly, which is slower", flush=True)
        return model
    return torch.compile(model)
