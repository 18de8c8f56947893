"""How well a model knows a text: scores that are larger the better it does."""

import zlib
from collections import defaultdict
from collections.abc import Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from uddm_lib.denoiser import Denoiser, leave_one_out, nelbo
from uddm_lib.diffusion import corrupt
from uddm_lib.facts import facts_of
from uddm_lib.sampling import T_END
from uddm_lib.schedule import LogLinearSchedule

__all__ = ["SCORES", "text_scores"]

ENTRIES = 2**22  # log-probabilities held at once, 32 MiB
LOWEST = 0.2  # share of the tokens that Min-K%++ averages
T_DENOISER = 0.1  # where a denoiser's output is converted: at T_END it shows the token itself
DRAWS = 16  # corruptions of a block, for scores that need some

SCORES = {
    "log_p": "leave-one-out log-probability of the tokens, their mean",
    "min_k": "Min-K%++ of that: the least likely fifth of the tokens, in standard deviations",
    "entropy": "minus the conditional entropy",
    "loss": "minus the NELBO",
    "zlib": "minus the NELBO of the text over its length when compressed",
    "blind": "minus the bytes of the compressed text for each character; asks no model",
}


def text_scores(
    denoiser: Denoiser,
    texts: Sequence[str],
    blocks: Sequence[Sequence[Int[Tensor, "_"]]],
    scored: Sequence[Sequence[Bool[Tensor, "_"]]],
    t: float | None = None,
    seed: int = 1,
) -> pd.DataFrame:
    """Scores of texts, each the mean over the tokens of its blocks.

    Args:
        denoiser: any, of uniform noise; its output is converted to leave-one-out where need be.
        texts: as strings, for the baselines.
        blocks: each text's tokens, cut as the model takes them.
        scored: for every block which positions count.
        t: time in (0, 1] of the leave-one-out law; by default 1e-5, or 0.1 for a denoiser.
        seed: of the corruptions.

    Returns:
        A table with a row a text: ``tokens`` and a column for each of ``SCORES``.
    """
    if t is None:
        t = T_END if facts_of(denoiser).output == "leave-one-out" else T_DENOISER
    by_length: dict[int, list[tuple[int, Tensor, Tensor]]] = defaultdict(list)
    for text, (parts, masks) in enumerate(zip(blocks, scored)):
        for part, mask in zip(parts, masks):
            by_length[len(part)].append((text, part, mask))
    generator = torch.Generator().manual_seed(seed)
    kept: dict[int, list[Tensor]] = defaultdict(list)
    for length, rows in sorted(by_length.items()):
        size = max(1, ENTRIES // (length * denoiser.vocab_size))
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            x = torch.stack([part for _, part, _ in some])
            values = _token_values(denoiser, x, t, generator)
            for (owner, _, mask), value in zip(some, values.unbind(1)):
                kept[owner].append(value[:, mask])
    return pd.DataFrame([_of_text(text, torch.cat(kept[i], 1)) for i, text in enumerate(texts)])


def _token_values(
    denoiser: Denoiser, x: Int[Tensor, "B L"], t: float, generator: torch.Generator
) -> Float[Tensor, "4 B L"]:
    """Log-probability, standardized log-probability, minus entropy, minus NELBO of every token."""
    schedule = LogLinearSchedule()
    sums = torch.zeros(3, *x.shape, dtype=torch.float64)
    draws = 1 if t == T_END else DRAWS // 2
    for _ in range(draws):
        z_t = corrupt(x, schedule.alpha(t), denoiser.vocab_size, generator)
        log_p = leave_one_out(denoiser, z_t, schedule.sigma(t))
        p, finite = log_p.exp(), log_p.clamp(min=-1e3)
        own = finite.gather(-1, x[..., None])[..., 0]
        mean = (p * finite).sum(-1)
        spread = ((p * finite.square()).sum(-1) - mean.square()).clamp(min=1e-4).sqrt()
        sums += torch.stack([own, (own - mean) / spread, mean])
    bound = torch.zeros(x.shape, dtype=torch.float64)
    first = max(1e-3, facts_of(denoiser).least_t)
    for draw in range(DRAWS):  # the same times for every text
        time = first + (1 - first) * (draw + 0.5) / DRAWS
        alpha, sigma = schedule.alpha(time), schedule.sigma(time)
        z_t = corrupt(x, alpha, denoiser.vocab_size, generator)
        bound += nelbo(denoiser, z_t, sigma, x, alpha, schedule.dalpha(time)).double()
    return torch.cat([sums / draws, -bound[None] / DRAWS])


def _of_text(text: str, values: Float[Tensor, "4 n"]) -> dict[str, float]:
    log_p, standardized, entropy, nelbo = values
    lowest = standardized.sort().values[: max(1, round(LOWEST * len(standardized)))]
    raw = text.encode()
    compressed = len(zlib.compress(raw, 9))
    return {
        "tokens": len(log_p),
        "log_p": log_p.mean().item(),
        "min_k": lowest.mean().item(),
        "entropy": entropy.mean().item(),
        "loss": nelbo.mean().item(),
        "zlib": nelbo.sum().item() / compressed,
        "blind": -compressed / max(len(text), 1),
    }
