"""Probes of memorization and generalization (paper sections 4-5): recovery, conditional entropy, NELBO, novelty.

Every probe takes a denoiser (see :mod:`uddm_lib.sampling`) and clean tokens of shape (B, L). ``scored`` is a
mask of shape (L,) of the positions that count: the BOS and EOS of packed blocks are constant and left out.
"""

import pandas as pd
import torch
from tqdm.auto import tqdm

from uddm_lib.diffusion import (
    check_share,
    corrupt,
    corrupt_share,
    fused_entropy,
    fused_nelbo,
    fused_sharpness,
    nelbo,
)
from uddm_lib.metrics import recovery_rates, scored_positions
from uddm_lib.sampling import T_END, has_head, restore, time_grid, trajectory
from uddm_lib.schedule import LogLinearSchedule

__all__ = [
    "conditional_entropy",
    "reverse_profile",
    "token_outcomes",
    "token_recovery",
    "validation_nelbo",
]


def token_recovery(
    denoiser,
    x,
    levels,
    steps=1000,
    greedy=False,
    start_t=1.0,
    scored=None,
    seed=1,
    batch_size=None,
    precision="fp32",
    show_progress=False,
):
    """Token recovery rate (paper eq. (12)) of every sequence at several noise levels.

    Stochastic (experiment 2): a level is the diffusion time t of both the corruption and the start of the
    reverse process. Greedy (experiment 1): a level is the share of corrupted tokens and the greedy process
    starts at ``start_t`` whatever the share.

    Args:
        denoiser: maps (z_t, sigma_t) to logits (B, L, V).
        x: clean tokens, shape (B, L).
        levels: times in (0, 1], or shares in [0, 1] if greedy.
        steps: intervals of the reverse grid over (0, 1].
        greedy: experiment 1 in place of experiment 2.
        start_t: fixed start of the greedy process.
        scored: mask of the positions that count, shape (L,); all by default.
        seed: the corruption and the draws at a level depend on it and on the level's position alone.
        batch_size: sequences a call of the denoiser; see :func:`~uddm_lib.sampling.restore`.
        precision: of a network in the reverse process; see :func:`~uddm_lib.sampling.trajectory`.
        show_progress: show one progress bar over all levels, sequences and steps.

    Returns:
        A table with a row per level and sequence: ``level, sequence, corrupted, recovered, unstable, exact``
        (see :func:`recovery_rates`).

    Raises:
        ValueError: if a level is out of range, before anything is computed.
    """
    if greedy:
        for share in levels:
            check_share(share)
    else:
        LogLinearSchedule().alpha(torch.tensor(levels))
    tables, calls = [], [len(time_grid(steps, start_t if greedy else level)) for level in levels]
    with tqdm(total=len(x) * sum(calls), desc="recovery", disable=not show_progress) as bar:
        for i, level in enumerate(levels):
            generator = torch.Generator(x.device).manual_seed(seed * 1_000 + i)
            z_t, restored = _round_trip(
                denoiser, x, level, steps, greedy, start_t, generator, batch_size, precision, bar
            )
            rates = recovery_rates(x, z_t, restored, scored)
            rates.insert(0, "level", level)
            tables.append(rates)
    return pd.concat(tables, ignore_index=True)


def token_outcomes(
    denoiser, x, t, steps=1000, scored=None, seed=1, batch_size=None, precision="fp32"
):
    """Conditional entropy of every token after restoration, by what became of the token (figure 3).

    The sequences are corrupted at t and restored stochastically, by a network at ``precision``; the entropy is that of
    the prediction, in float32, at t = 1e-5 given the restored sequence.

    Returns:
        A table with a row a scored token: ``sequence, position, outcome, entropy`` (nats); the outcome is
        recovered or failed for corrupted tokens, stable or unstable for untouched ones.
    """
    generator = torch.Generator(x.device).manual_seed(seed)
    z_t, restored = _round_trip(denoiser, x, t, steps, False, 1.0, generator, batch_size, precision)
    entropy = conditional_entropy(denoiser, restored, generator=generator)
    scored = scored_positions(x, scored)
    sequence, position = torch.meshgrid(
        torch.arange(len(x)), scored.nonzero()[:, 0].cpu(), indexing="ij"
    )
    code = (2 * (z_t == x) + (restored != x))[:, scored].cpu()
    return pd.DataFrame(
        {
            "sequence": sequence.flatten().tolist(),
            "position": position.flatten().tolist(),
            "outcome": pd.Categorical.from_codes(
                code.flatten().tolist(), ["recovered", "failed", "stable", "unstable"]
            ),
            "entropy": entropy[:, scored].flatten().tolist(),
        }
    )


@torch.inference_mode()
def conditional_entropy(denoiser, x, t=T_END, generator=None, batch_size=256, schedule=None):
    """Conditional entropy of every token, H = -sum_v p(v) log p(v) (paper eq. (13)), z_t drawn at time t.

    Args:
        denoiser: maps (z_t, sigma_t) to logits (B, L, V).
        x: tokens of shape (B, L).
        t: time in (0, 1].
        generator: source of the corruption; seeded with 0 by default.
        batch_size: sequences a call of the denoiser.
        schedule: noise schedule, log-linear by default.

    Returns:
        Nats, shape (B, L). A sequence's conditional entropy is the sum over its positions.

    Raises:
        ValueError: if t is outside (0, 1] or a token outside the vocabulary.
    """
    schedule = schedule or LogLinearSchedule()
    generator = generator or torch.Generator(x.device).manual_seed(0)
    alpha, sigma = schedule.alpha(t), schedule.sigma(t).to(x.device)
    entropies = []
    for chunk in x.split(batch_size):
        z_t = corrupt(chunk, alpha, denoiser.vocab_size, generator)
        if has_head(denoiser):
            entropies.append(
                fused_entropy(denoiser.hidden(z_t, sigma), denoiser.head.weight, denoiser.head.bias)
            )
        else:
            entropies.append(torch.special.entr(denoiser.denoise(z_t, sigma).softmax(-1)).sum(-1))
    return torch.cat(entropies)


@torch.inference_mode()
def reverse_profile(
    denoiser, z_t, start_t=1.0, steps=100, every=1, scored=None, generator=None, schedule=None
):
    """How sharp the predictions are along the reverse process: entropy and its discrete relatives (paper appendix C).

    Args:
        denoiser: maps (z_t, sigma_t) to logits (B, L, V).
        z_t: tokens to start from, shape (B, L).
        start_t: time that the stochastic process starts at.
        steps: intervals of the reverse grid over (0, 1].
        every: steps from one row to the next.
        scored: mask of the positions that count, shape (L,); all by default.
        generator: source of randomness, on the device of ``z_t``.
        schedule: noise schedule, log-linear by default.

    Returns:
        A table with a row per time: ``t`` and means over sequences and positions of ``entropy`` (nats),
        ``variance``, sum_v p(1 - p), the trace of the covariance of a token drawn from p (of the Hessian of
        log sum exp(logits)): small in a sharp basin; and ``gap``, the largest minus the second largest probability.
    """
    schedule, scored = schedule or LogLinearSchedule(), scored_positions(z_t, scored)
    process = trajectory(denoiser, z_t, start_t, steps, generator=generator, schedule=schedule)
    rows = []
    for step, (t, state) in enumerate(process):
        if t == 0 or step % every:
            continue
        values = (
            _sharpness(denoiser, state, schedule.sigma(t).to(z_t.device))[..., scored]
            .mean((1, 2))
            .tolist()
        )
        rows.append({"t": t, **dict(zip(("entropy", "variance", "gap"), values))})
    return pd.DataFrame(rows)


@torch.inference_mode()
def validation_nelbo(
    denoiser, x, scored=None, draws=1, seed=1, batch_size=256, t_min=1e-3, schedule=None
):
    """Negative evidence lower bound of clean tokens (paper eq. (3)), nats per scored token.

    Each sequence gets ``draws`` times, stratified over [t_min, 1] across all sequences, and one corruption at
    each. The perplexity reported by the paper's code is the exponential of the mean.

    Returns:
        One estimate a sequence, shape (B,); their mean estimates the data's NELBO.
    """
    schedule = schedule or LogLinearSchedule()
    generator = torch.Generator(x.device).manual_seed(seed)
    scored = scored_positions(x, scored)
    n = len(x) * draws
    order = torch.randperm(n, generator=generator, device=x.device)
    jitter = torch.rand(n, generator=generator, device=x.device, dtype=torch.float64)
    times = t_min + (1 - t_min) * (order + jitter) / n
    values = []
    for chunk, t in zip(x.repeat(draws, 1).split(batch_size), times.split(batch_size)):
        alpha = schedule.alpha(t)
        z_t = corrupt(chunk, alpha, denoiser.vocab_size, generator)
        given = z_t, chunk, alpha, schedule.dalpha(t)
        if has_head(denoiser):
            head = denoiser.head
            found = fused_nelbo(
                denoiser.hidden(z_t, schedule.sigma(t)), head.weight, head.bias, *given
            )
        else:
            found = nelbo(denoiser.denoise(z_t, schedule.sigma(t)), *given)
        values.append(found[:, scored].mean(1))
    return torch.cat(values).view(draws, len(x)).mean(0)


def _sharpness(denoiser, z_t, sigma):
    """Entropy, sum_v p(1 - p) and top-1 minus top-2 of the predictions, shape (3, B, L)."""
    if has_head(denoiser):
        return fused_sharpness(
            denoiser.hidden(z_t, sigma), denoiser.head.weight, denoiser.head.bias
        )
    p = denoiser.denoise(z_t, sigma).softmax(-1)
    first, second = p.topk(2).values.unbind(-1)
    return torch.stack([torch.special.entr(p).sum(-1), (p * (1 - p)).sum(-1), first - second])


def _round_trip(
    denoiser, x, level, steps, greedy, start_t, generator, batch_size, precision, bar=None
):
    """Corrupt x at a level and restore it: (z_t, restored)."""
    if greedy:
        z_t = corrupt_share(x, level, denoiser.vocab_size, generator)
    else:
        z_t, start_t = (
            corrupt(x, LogLinearSchedule().alpha(level), denoiser.vocab_size, generator),
            level,
        )
    return z_t, restore(
        denoiser, z_t, start_t, steps, greedy, generator, batch_size, bar, precision=precision
    )
