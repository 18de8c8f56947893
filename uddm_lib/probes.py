"""Probes of memorization and generalization (paper sections 4-5).

Token recovery, conditional entropy, sharpness along the reverse process, validation NELBO. Every
probe takes a denoiser (see :mod:`uddm_lib.denoiser`) and clean tokens. ``scored`` is a mask of the
positions that count: the BOS and EOS of packed blocks are constant and left out.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from uddm_lib.denoiser import Denoiser, entropy, nelbo, sharpness
from uddm_lib.diffusion import check_share, corrupt_share
from uddm_lib.facts import facts_of
from uddm_lib.metrics import recovery_rates, scored_positions
from uddm_lib.noise import Noise, noise_of
from uddm_lib.sampling import T_END, ReverseProcess, reverse_process, trajectory

__all__ = [
    "conditional_entropy",
    "reverse_profile",
    "token_nelbo",
    "token_outcomes",
    "token_recovery",
    "validation_nelbo",
]


def token_recovery(
    denoiser: Denoiser,
    x: Int[Tensor, "B L"],
    levels: Sequence[float],
    steps: int = 1000,
    greedy: bool = False,
    start_t: float = 1.0,
    scored: Bool[Tensor, " L"] | None = None,
    seed: int = 1,
    batch_size: int | None = None,
    precision: str = "fp32",
    show_progress: bool = False,
) -> pd.DataFrame:
    """Token recovery rate (paper eq. (12)) of every sequence at several noise levels.

    Stochastic (experiment 2): a level is the time t of the corruption and of the reverse process's
    start. Greedy (experiment 1): a level is the share of corrupted tokens.

    Args:
        denoiser: predicts the clean tokens.
        x: clean tokens.
        levels: times in (0, 1], or shares in [0, 1] if greedy.
        steps: intervals of the reverse grid over (0, 1].
        greedy: experiment 1 in place of experiment 2.
        start_t: start of the greedy process, whatever the share.
        scored: mask of the positions that count; all by default.
        seed: the draws at a level depend on it and on the level's position alone.
        batch_size: sequences a call of the denoiser; see :func:`~uddm_lib.sampling.restore`.
        precision: of a network in the reverse process; see :func:`~uddm_lib.sampling.trajectory`.
        show_progress: show one progress bar over all levels, sequences and steps.

    Returns:
        A table with a row per level and sequence: ``level`` and the columns of
        :func:`~uddm_lib.metrics.recovery_rates`.

    Raises:
        ValueError: if a level is out of range, before anything is computed.
    """
    scored = scored_positions(x, scored)
    noise = noise_of(denoiser)
    processes = _processes(noise, levels, steps, greedy, start_t, precision, x.device)
    tables = []
    total = len(x) * sum(len(process) for process in processes)
    with tqdm(total=total, desc="recovery", disable=not show_progress) as bar:
        for i, (level, process) in enumerate(zip(levels, processes)):
            generator = torch.Generator(x.device).manual_seed(seed * 1_000 + i)
            z_t = _corrupted(x, level, noise, greedy, generator)
            restored = process.ends(denoiser, z_t, generator, batch_size, bar)
            rates = recovery_rates(x, z_t, restored, scored)
            rates.insert(0, "level", level)
            tables.append(rates)
    return pd.concat(tables, ignore_index=True)


def _processes(
    noise: Noise,
    levels: Sequence[float],
    steps: int,
    greedy: bool,
    start_t: float,
    precision: str,
    device: torch.device,
) -> list[ReverseProcess]:
    """The reverse process of every level, once all levels are known to be in range."""
    if greedy:
        for share in levels:
            check_share(share)
        process = reverse_process(noise, start_t, steps, True, precision=precision, device=device)
        return [process] * len(levels)
    noise.level(torch.tensor([*levels], dtype=torch.float64))  # refuses what is no time
    return [reverse_process(noise, t, steps, precision=precision, device=device) for t in levels]


def _corrupted(
    x: Int[Tensor, "B L"], level: float, noise: Noise, greedy: bool, generator: torch.Generator
) -> Int[Tensor, "B L"]:
    """x at a level of :func:`token_recovery`."""
    if greedy:
        return corrupt_share(x, level, noise.vocab_size, generator)
    return noise.corrupt(x, level, generator)


def token_outcomes(
    denoiser: Denoiser,
    x: Int[Tensor, "B L"],
    t: float,
    steps: int = 1000,
    scored: Bool[Tensor, " L"] | None = None,
    seed: int = 1,
    batch_size: int | None = None,
    precision: str = "fp32",
) -> pd.DataFrame:
    """Conditional entropy of every token after restoration, by what became of the token (figure 3).

    The sequences are corrupted at t and restored stochastically, by a network at ``precision``. The
    entropy is that of the prediction, in float32, at t = 1e-5 given the restored sequence.

    Returns:
        A table with a row a scored token: ``sequence, position, outcome, entropy`` (nats). The
        outcome is recovered or failed for corrupted tokens, stable or unstable for untouched ones.

    Raises:
        ValueError: if t or another argument is out of range.
    """
    scored = scored_positions(x, scored)
    noise = noise_of(denoiser)
    process = reverse_process(noise, t, steps, precision=precision, device=x.device)
    generator = torch.Generator(x.device).manual_seed(seed)
    z_t = noise.corrupt(x, t, generator)
    restored = process.ends(denoiser, z_t, generator, batch_size)
    entropies = conditional_entropy(denoiser, restored, generator=generator)
    sequence, position = torch.meshgrid(
        torch.arange(len(x)), scored.nonzero()[:, 0].cpu(), indexing="ij"
    )
    code = (2 * (z_t == x) + (restored != x))[:, scored].cpu()
    return pd.DataFrame(
        {
            "sequence": sequence.flatten().tolist(),
            "position": position.flatten().tolist(),
            "outcome": pd.Categorical.from_codes(
                code.flatten().tolist(), pd.Index(["recovered", "failed", "stable", "unstable"])
            ),
            "entropy": entropies[:, scored].flatten().tolist(),
        }
    )


def conditional_entropy(
    denoiser: Denoiser,
    x: Int[Tensor, "B L"],
    t: float | None = None,
    generator: torch.Generator | None = None,
    batch_size: int = 256,
    noise: Noise | None = None,
) -> Float[Tensor, "B L"]:
    """Conditional entropy of every token, H = -sum_v p(v) log p(v) (paper eq. (13)), at time t.

    Args:
        denoiser: predicts the clean tokens.
        x: clean tokens, which are corrupted at t.
        t: time in (0, 1]; by default 1e-5, or the ``least_t`` of a trained denoiser if that is
            later.
        generator: source of the corruption; seeded with 0 by default.
        batch_size: sequences a call of the denoiser.
        noise: by default the denoiser's, log-linear if it is uniform.

    Returns:
        Nats. A sequence's conditional entropy is the sum over its positions.

    Raises:
        ValueError: if t is outside (0, 1] or too small for the denoiser, or a token is outside
            the vocabulary.
    """
    noise = noise_of(denoiser, noise)
    t = max(T_END, facts_of(denoiser).least_t) if t is None else t
    generator = generator or torch.Generator(x.device).manual_seed(0)
    level = noise.level(t).to(x.device)
    return torch.cat(
        [
            entropy(denoiser, noise.corrupt(batch, t, generator), level)
            for batch in x.split(batch_size)
        ]
    )


def reverse_profile(
    denoiser: Denoiser,
    z_t: Int[Tensor, "B L"],
    start_t: float = 1.0,
    steps: int = 100,
    every: int = 1,
    scored: Bool[Tensor, " L"] | None = None,
    generator: torch.Generator | None = None,
    noise: Noise | None = None,
) -> pd.DataFrame:
    """How sharp the predictions are along the reverse process (paper appendix C).

    Args:
        denoiser: predicts the clean tokens.
        z_t: tokens to start from.
        start_t: time that the stochastic process starts at.
        steps: intervals of the reverse grid over (0, 1].
        every: steps from one row to the next.
        scored: mask of the positions that count; all by default.
        generator: source of randomness, on the device of ``z_t``.
        noise: by default the denoiser's, log-linear if it is uniform.

    Returns:
        A table with a row per time: ``t`` and means over sequences and positions of ``entropy``
        (nats), ``variance`` and ``gap``. The variance is sum_v p(1 - p): the trace of the
        covariance of a token drawn from p (of the Hessian of log sum exp(logits)), small in a sharp
        basin. The gap is the largest minus the second largest probability.
    """
    noise, scored = noise_of(denoiser, noise), scored_positions(z_t, scored)
    process = trajectory(denoiser, z_t, start_t, steps, generator=generator, noise=noise)
    rows = []
    for step, (t, state) in enumerate(process):
        if t == 0 or step % every:
            continue
        values = sharpness(denoiser, state, noise.level(t).to(z_t.device))
        means = values[..., scored].mean((1, 2)).tolist()
        rows.append({"t": t, **dict(zip(("entropy", "variance", "gap"), means))})
    return pd.DataFrame(rows)


def validation_nelbo(
    denoiser: Denoiser,
    x: Int[Tensor, "B L"],
    scored: Bool[Tensor, " L"] | None = None,
    draws: int = 1,
    seed: int = 1,
    batch_size: int = 256,
    t_min: float | None = None,
    noise: Noise | None = None,
) -> Float[Tensor, " B"]:
    """Negative evidence lower bound of clean tokens (paper eq. (3)), nats per scored token.

    The perplexity that the paper's code reports is the exponential of the mean. For the times see
    :func:`token_nelbo`.

    Returns:
        One estimate a sequence; their mean estimates the data's NELBO.
    """
    scored = scored_positions(x, scored)
    values = token_nelbo(denoiser, x, draws, seed, batch_size, t_min, noise)
    return values[:, scored].mean(1)


def token_nelbo(
    denoiser: Denoiser,
    x: Int[Tensor, "B L"],
    draws: int = 1,
    seed: int = 1,
    batch_size: int = 256,
    t_min: float | None = None,
    noise: Noise | None = None,
) -> Float[Tensor, "B L"]:
    """What each clean token contributes to the negative evidence lower bound, in nats.

    Each sequence gets ``draws`` times, stratified over [t_min, 1] across all sequences, and one
    corruption at each. By default ``t_min`` is 1e-3, or the ``least_t`` of a trained denoiser,
    whose share of earlier times is then missing. Under hybrid noise that share grows with
    ``p_uniform``.
    """
    noise = noise_of(denoiser, noise)
    generator = torch.Generator(x.device).manual_seed(seed)
    if t_min is None:
        t_min = max(noise.like_uniform(1e-3), facts_of(denoiser).least_t)
    n = len(x) * draws
    stratum = torch.randperm(n, generator=generator, device=x.device)
    jitter = torch.rand(n, generator=generator, device=x.device, dtype=torch.float64)
    times = t_min + (1 - t_min) * (stratum + jitter) / n
    values = []
    for batch, t in zip(x.repeat(draws, 1).split(batch_size), times.split(batch_size)):
        z_t = noise.corrupt(batch, t, generator)
        values.append(nelbo(denoiser, z_t, batch, t, noise))
    return torch.cat(values).view(draws, *x.shape).mean(0)
