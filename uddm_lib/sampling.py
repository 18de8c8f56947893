"""The reverse process from any start: generation, restoration, and the trajectory in between.

Everything here takes a *denoiser*: an object with ``denoise(z_t, sigma) -> logits (B, L, V)`` and a
``vocab_size``. The trained network is one; exact solutions of known sources are others. A denoiser that has
``hidden(z_t, sigma) -> (B, L, D)`` and ``head``, the linear layer that makes logits of it, is sampled from without
(B, L, V) tensors, and only asked about the sequences whose next state depends on it; ``precision="bf16"`` lets such a
network take matrix products in bfloat16, where the device has fast ones.
"""

import functools

import torch
from tqdm.auto import tqdm

from uddm_lib.devices import has_fast_bf16
from uddm_lib.diffusion import fused_reverse_step, most_probable, reverse_step, undecided
from uddm_lib.schedule import LogLinearSchedule

__all__ = ["T_END", "generate", "has_head", "restore", "time_grid", "trajectory"]

T_END = 1e-5


def time_grid(steps, start_t=1.0):
    """Times of the reverse loop: those of linspace(1, 1e-5, steps + 1) from the one nearest to ``start_t`` on, float64.

    The grid is that of the released code; the noise-removal step comes after its last time.

    Raises:
        ValueError: if ``steps`` is not a positive integer, or ``start_t`` outside (0, 1].
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps={steps!r} is not a positive integer")
    if not 0 < start_t <= 1:
        raise ValueError(f"start_t={start_t!r} is outside (0, 1]")
    times = torch.linspace(1, T_END, steps + 1, dtype=torch.float64)
    return times[(times - start_t).abs().argmin() :]


@torch.inference_mode()
def trajectory(
    denoiser,
    z_t,
    start_t=1.0,
    steps=1000,
    greedy=False,
    final_greedy=None,
    generator=None,
    schedule=None,
    precision="fp32",
):
    """Yield (t, z_t) along the reverse process, from the grid time nearest to ``start_t`` down to the clean end.

    The grid ends at t = 1e-5; one noise-removal step follows: a draw from the posterior at alpha_s = 1, or,
    when greedy, the argmax of the prediction. The last pair yielded has t = 0.

    In the greedy process a token moves only if (alpha_s - alpha_t) (p_top - p[z_t]) exceeds
    alpha_t (1 - alpha_s) / alpha_s + V alpha_t p[z_t]. On a fine grid no prediction can reach that except at
    the very end, so steps that provably change nothing are taken without asking the denoiser.

    Args:
        denoiser: maps (z_t, sigma_t) to logits (B, L, V).
        z_t: tokens to start from, shape (B, L), on the denoiser's device.
        start_t: time in (0, 1] that the process is told to start at.
        steps: intervals of the grid over the whole of (0, 1].
        greedy: most probable token at every step in place of a draw.
        final_greedy: the same for the noise-removal step; as ``greedy`` by default.
        generator: source of randomness, on the device of ``z_t``.
        schedule: noise schedule, log-linear by default.
        precision: ``fp32``, or ``bf16`` for a network's matrix products in bfloat16 (predictions move by about 1 %).

    Raises:
        ValueError: if ``steps`` or ``start_t`` is out of range, or ``precision`` unknown.
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision={precision!r} is not allowed; it must be one of fp32, bf16")
    fast = functools.partial(
        torch.autocast,
        z_t.device.type,
        torch.bfloat16,
        enabled=precision == "bf16" and has_fast_bf16(z_t.device),
    )
    schedule = schedule or LogLinearSchedule()
    times = time_grid(steps, start_t)
    alphas = schedule.alpha(times)
    sigmas = schedule.sigma(times)
    yield times[0].item(), z_t
    for i in range(len(times) - 1):
        alpha_t, alpha_s = alphas[i], alphas[i + 1]
        if not greedy or alpha_s - alpha_t > alpha_t * (1 - alpha_s) / alpha_s:
            with fast():
                z_t = _step(
                    denoiser, z_t, sigmas[i].to(z_t.device), alpha_s, alpha_t, generator, greedy
                )
        yield times[i + 1].item(), z_t
    with fast():
        if greedy if final_greedy is None else final_greedy:
            z_t = _most_probable(denoiser, z_t, sigmas[-1].to(z_t.device))
        else:
            z_t = _step(
                denoiser, z_t, sigmas[-1].to(z_t.device), torch.ones(()), alphas[-1], generator
            )
    yield 0.0, z_t


def has_head(denoiser):
    """Whether a denoiser gives hidden states, and a linear layer ``head`` that makes logits of them."""
    return hasattr(denoiser, "hidden") and hasattr(denoiser, "head")


def _most_probable(denoiser, z_t, sigma):
    """The noise-removal step of the released code: the mode of every prediction."""
    if not has_head(denoiser):
        return _exactly(denoiser, z_t, sigma).argmax(-1)
    return most_probable(denoiser.hidden(z_t, sigma), denoiser.head.weight, denoiser.head.bias)


def _exactly(denoiser, z_t, sigma):
    """Logits of a denoiser that is no network, whose sums bfloat16 would spoil."""
    with torch.autocast(z_t.device.type, enabled=False):
        return denoiser.denoise(z_t, sigma)


def _step(denoiser, z_t, sigma, alpha_s, alpha_t, generator, greedy=False):
    """One reverse step; of a network, only for the sequences in which a token is not bound to stay."""
    if not has_head(denoiser):
        return reverse_step(
            _exactly(denoiser, z_t, sigma), z_t, alpha_s, alpha_t, generator, greedy
        )
    weight, bias = denoiser.head.weight, denoiser.head.bias
    if greedy:
        return fused_reverse_step(
            denoiser.hidden(z_t, sigma), weight, bias, z_t, alpha_s, alpha_t, greedy=True
        )
    u = torch.rand(z_t.shape, generator=generator, device=z_t.device, dtype=torch.float64)
    asked = undecided(u, z_t, alpha_s, alpha_t).any(1)
    # Rounded up by at most a quarter: for every other shape a CPU has to generate bfloat16 kernels.
    count = int(asked.sum())
    step = 1 << max(count.bit_length() - 3, 0)
    rows = asked.argsort(descending=True, stable=True)[: -(-count // step) * step]
    z_s = z_t.clone()
    if len(rows):
        some = z_t[rows]
        z_s[rows] = fused_reverse_step(
            denoiser.hidden(some, sigma), weight, bias, some, alpha_s, alpha_t, u=u[rows]
        )
    return z_s


def restore(
    denoiser,
    z_t,
    start_t,
    steps=1000,
    greedy=False,
    generator=None,
    batch_size=None,
    bar=None,
    **options,
):
    """Run the reverse process on corrupted tokens and return its end, shape (B, L); see :func:`trajectory`.

    Takes ``batch_size`` sequences at a time; by default 256, or on a CPU, whose caches hold less, 4,096 tokens.
    ``bar``, a tqdm bar, is told after every step how many sequences took it: ``B * len(time_grid(steps, start_t))``
    in all.
    """
    if batch_size is None:
        batch_size = max(4096 // z_t.shape[1], 1) if z_t.device.type == "cpu" else 256
    _positive(batch_size, "batch_size")
    ends = []
    for chunk in z_t.split(batch_size):
        process = trajectory(
            denoiser, chunk, start_t, steps, greedy, generator=generator, **options
        )
        next(process)  # the start
        for _, state in process:
            if bar is not None:
                bar.update(len(chunk))
        ends.append(state)
    return torch.cat(ends)


def generate(
    denoiser,
    n,
    length,
    steps=1000,
    generator=None,
    batch_size=None,
    device=None,
    show_progress=False,
    **options,
):
    """Generate n sequences of ``length`` tokens from uniform noise; the noise-removal step is greedy, as released.

    It happens on ``device``, the denoiser's; by default the generator's, or without one what the denoiser tells, or the
    CPU. For the rest see :func:`restore`.

    Returns:
        Tokens of shape (n, length).

    Raises:
        ValueError: if ``n``, ``length``, ``steps`` or ``batch_size`` is not a positive integer.
    """
    _positive(n, "n")
    _positive(length, "length")
    if device is None:
        device = getattr(denoiser, "device", "cpu") if generator is None else generator.device
    noise = torch.randint(denoiser.vocab_size, (n, length), generator=generator, device=device)
    options.setdefault("final_greedy", True)
    with tqdm(total=n * len(time_grid(steps)), desc="generation", disable=not show_progress) as bar:
        return restore(
            denoiser,
            noise,
            1.0,
            steps,
            generator=generator,
            batch_size=batch_size,
            bar=bar,
            **options,
        )


def _positive(value, name):
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r} is not a positive integer")
