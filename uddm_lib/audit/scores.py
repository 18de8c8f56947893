"""How well a model knows a text: scores that are larger the better it does."""

import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from uddm_lib.denoiser import ENTRIES, Denoiser, leave_one_out, nelbo
from uddm_lib.facts import facts_of
from uddm_lib.noise import check_readable, noise_of
from uddm_lib.sampling import T_END, restore

__all__ = ["SCORES", "text_scores", "token_log_p", "token_values"]

LOWEST = 0.2  # share of the tokens that Min-K%++ averages
T_DENOISER = 0.1  # where a denoiser's output is converted: at T_END it shows the token itself
DRAWS = 16  # corruptions of a block, for scores that need some
T_RECOVERY = 0.1  # of the corruptions that are restored; chosen as the audit's score was

SCORES = {
    "best_log_p": "leave-one-out log-probability of the tokens, their mean; the better of two cuts",
    "log_p": "the same, where the text is cut from its first token on",
    "min_k": "Min-K%++ of that: the least likely fifth of the tokens, in standard deviations",
    "recovery": "share of the corrupted tokens that come back in the greedy reverse process",
    "entropy": "minus the conditional entropy",
    "loss": "minus the NELBO",
    "zlib": "minus the NELBO of the text over its length when compressed",
    "blind": "minus the bytes of the compressed text for each character; asks no model",
}


def text_scores(
    texts: Sequence[str],
    values: Sequence[Float[Tensor, "6 _"]],
    second: Sequence[Float[Tensor, "_"]],
) -> pd.DataFrame:
    """Scores of texts, each the mean over the tokens; recovery that over the corrupted ones.

    Args:
        texts: as strings, for the baselines.
        values: of :func:`token_values`.
        second: of :func:`token_log_p`, for the same texts cut at another place.

    Returns:
        A table with a row a text: ``tokens`` and a column for each of ``SCORES``.
    """
    return pd.DataFrame(
        [_of_text(text, first, other) for text, first, other in zip(texts, values, second)]
    )


def token_values(
    denoiser: Denoiser,
    blocks: Sequence[Sequence[Int[Tensor, "_"]]],
    scored: Sequence[Sequence[Bool[Tensor, "_"]]],
    t: float | None = None,
    seed: int = 1,
    show_progress: bool = False,
) -> list[Float[Tensor, "6 _"]]:
    """What a model says of every token of some texts.

    Args:
        denoiser: any but one that was trained with masks alone; its output is converted to
            leave-one-out where need be.
        blocks: each text's tokens, cut as the model takes them, on the CPU. They go to the device
            that the denoiser names in its attribute ``device``, if any.
        scored: for every block which positions count.
        t: time in (0, 1] of the leave-one-out law; by default 1e-5, or 0.1 for a denoiser.
        seed: of the corruptions, which are the same on every device.
        show_progress: show a bar over the blocks.

    Returns:
        For each text log-probability, standardized log-probability, minus entropy and minus NELBO
        of its tokens that count, in nats; then how often each was corrupted, and how often it came
        back. Float64, on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    apart = torch.Generator().manual_seed(seed)  # recovery moves no other score

    def all_of(x: Int[Tensor, "B L"]) -> Float[Tensor, "6 B L"]:
        predicted = _predicted(denoiser, x, t, generator)
        bound = _bound(denoiser, x, generator)
        return torch.cat([predicted, -bound[None], _restored(denoiser, x, apart)])

    return _by_text(denoiser, blocks, scored, all_of, show_progress)


def token_log_p(
    denoiser: Denoiser,
    blocks: Sequence[Sequence[Int[Tensor, "_"]]],
    scored: Sequence[Sequence[Bool[Tensor, "_"]]],
    t: float | None = None,
    seed: int = 1,
    show_progress: bool = False,
) -> list[Float[Tensor, "_"]]:
    """The first of :func:`token_values` alone, which takes few calls of the denoiser."""
    generator = torch.Generator().manual_seed(seed)

    def first_of(x: Int[Tensor, "B L"]) -> Float[Tensor, "1 B L"]:
        return _predicted(denoiser, x, t, generator)[:1]

    return [value[0] for value in _by_text(denoiser, blocks, scored, first_of, show_progress)]


def _by_text(
    denoiser: Denoiser,
    blocks: Sequence[Sequence[Int[Tensor, "_"]]],
    scored: Sequence[Sequence[Bool[Tensor, "_"]]],
    values_of: Callable[[Tensor], Tensor],
    show_progress: bool,
) -> list[Float[Tensor, "k _"]]:
    """Values (k, B, L) of blocks of one length, for each text in the order of its tokens."""
    by_length: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for text, parts in enumerate(blocks):
        for place, part in enumerate(parts):
            by_length[len(part)].append((text, place))
    kept: dict[tuple[int, int], Tensor] = {}
    bar = tqdm(total=sum(map(len, blocks)), desc="blocks", disable=not show_progress)
    for length, owners in sorted(by_length.items()):
        size = max(1, ENTRIES // (length * denoiser.vocab_size))
        for start in range(0, len(owners), size):
            some = owners[start : start + size]
            x = torch.stack([blocks[text][place] for text, place in some])
            for (text, place), value in zip(some, values_of(x).unbind(1)):
                kept[text, place] = value[:, scored[text][place]]
            bar.update(len(some))
    bar.close()
    return [
        torch.cat([kept[text, place] for place in range(len(parts))], 1)
        for text, parts in enumerate(blocks)
    ]


def _predicted(
    denoiser: Denoiser, x: Int[Tensor, "B L"], t: float | None, generator: torch.Generator
) -> Float[Tensor, "3 B L"]:
    """Log-probability, standardized log-probability and minus entropy of every token."""
    check_readable(denoiser)
    noise, device = noise_of(denoiser), _device_of(denoiser)
    if t is None:
        seen = facts_of(denoiser).output != "leave-one-out"
        t = noise.like_uniform(T_DENOISER) if seen else max(T_END, facts_of(denoiser).least_t)
    sums = torch.zeros(3, *x.shape, dtype=torch.float64)
    draws = 1 if t == T_END else DRAWS // 2
    for _ in range(draws):
        z_t = noise.corrupt(x, t, generator).to(device)
        log_p = leave_one_out(denoiser, z_t, noise.level(t).to(device))
        p, finite = log_p.exp(), log_p.clamp(min=-1e3)
        own = finite.gather(-1, x.to(device)[..., None])[..., 0]
        mean = (p * finite).sum(-1)
        spread = ((p * finite.square()).sum(-1) - mean.square()).clamp(min=1e-4).sqrt()
        sums += torch.stack([own, (own - mean) / spread, mean]).cpu()
    return sums / draws


def _bound(
    denoiser: Denoiser, x: Int[Tensor, "B L"], generator: torch.Generator
) -> Float[Tensor, "B L"]:
    """The NELBO of every token, at the same times for every text."""
    noise, device = noise_of(denoiser), _device_of(denoiser)
    bound = torch.zeros(x.shape, dtype=torch.float64)
    first = max(noise.like_uniform(1e-3), facts_of(denoiser).least_t)
    for draw in range(DRAWS):
        time = first + (1 - first) * (draw + 0.5) / DRAWS
        z_t = noise.corrupt(x, time, generator).to(device)
        bound += nelbo(denoiser, z_t, x.to(device), time, noise).double().cpu()
    return bound / DRAWS


def _restored(
    denoiser: Denoiser, x: Int[Tensor, "B L"], generator: torch.Generator
) -> Float[Tensor, "2 B L"]:
    """How often every token was corrupted, and how often it then came back (paper eq. (12))."""
    noise, copies = noise_of(denoiser), x.repeat(DRAWS // 2, 1)
    t = noise.like_uniform(T_RECOVERY)
    z_t = noise.corrupt(copies, t, generator)
    # So many steps over (0, 1] are two from t on.
    ends = restore(denoiser, z_t.to(_device_of(denoiser)), t, round(1 / t), greedy=True).cpu()
    counted = torch.stack([z_t != copies, (z_t != copies) & (ends == copies)])
    return counted.unflatten(1, (DRAWS // 2, len(x))).sum(1).double()


def _device_of(denoiser: Denoiser) -> torch.device:
    return torch.device(getattr(denoiser, "device", "cpu"))


def _of_text(
    text: str, values: Float[Tensor, "6 n"], second: Float[Tensor, " n"]
) -> dict[str, float]:
    log_p, standardized, entropy, nelbo, corrupted, back = values
    lowest = standardized.sort().values[: max(1, round(LOWEST * len(standardized)))]
    raw = text.encode()
    compressed = len(zlib.compress(raw, 9))
    return {
        "tokens": len(log_p),
        "best_log_p": max(log_p.mean().item(), second.mean().item()),
        "log_p": log_p.mean().item(),
        "min_k": lowest.mean().item(),
        "recovery": (back.sum() / corrupted.sum().clamp(min=1)).item(),
        "entropy": entropy.mean().item(),
        "loss": nelbo.mean().item(),
        "zlib": nelbo.sum().item() / compressed,
        "blind": -compressed / max(len(text), 1),
    }
