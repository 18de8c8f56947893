"""Small examples of the paper's equations: enumerated, drawn or integrated.

The NELBO on pairs of tokens, a source of a rule and of facts, the argmax of noisy one-hot vectors
(appendix B), and the entropy of a double well (appendix C).
"""

import math
from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib.diffusion import nelbo
from uddm_lib.schedule import LogLinearSchedule

__all__ = ["argmax_alpha", "double_well", "entropy_of_facts", "nelbo_integrands"]


def nelbo_integrands(joint: Float[Tensor, "V V"], times: Float[Tensor, "T"]) -> pd.DataFrame:
    """Integrand of the NELBO (eq. (3)) on pairs of tokens with a joint law, by enumeration.

    Args:
        joint: law of the pair, float64.
        times: diffusion times in (0, 1].

    Returns:
        A table with a row per time, ``t``, and a column for each prediction, in nats, summed over
        both positions: ``leave-one-out conditional``, ``ordinary posterior``, ``uniform
        prediction``.
    """
    size, schedule = len(joint), LogLinearSchedule()
    pairs = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    x, z = torch.cartesian_prod(torch.arange(len(pairs)), torch.arange(len(pairs))).unbind(1)
    rows = []
    for t in times:
        alpha, dalpha = schedule.alpha(t), schedule.dalpha(t)
        kernel = alpha * torch.eye(size, dtype=torch.float64) + (1 - alpha) / size
        weight = joint[tuple(pairs[x].T)] * kernel[pairs[x], pairs[z]].prod(1)
        row = {"t": t.item()}
        for name, p in _predictions(joint, kernel, pairs).items():
            terms = nelbo(p.log()[z], pairs[z], pairs[x], alpha, dalpha).sum(1)
            row[name] = (weight * terms).sum().item()
        rows.append(row)
    return pd.DataFrame(rows)


def _predictions(
    joint: Float[Tensor, "V V"], kernel: Float[Tensor, "V V"], pairs: Int[Tensor, "pairs 2"]
) -> dict[str, Float[Tensor, "pairs 2 V"]]:
    """Weights of the clean tokens, not normalized, for each noisy pair."""
    given_second = (joint @ kernel).T[pairs[:, 1]]
    given_first = (joint.T @ kernel).T[pairs[:, 0]]
    others = torch.stack([given_second, given_first], 1)
    return {
        "leave-one-out conditional": others,
        "ordinary posterior": others * kernel.T[pairs],
        "uniform prediction": torch.ones_like(others),
    }


def entropy_of_facts(
    sequences: Int[Tensor, "B L"],
    facts: Int[Tensor, "n L"],
    share: float,
    rule: tuple[Float[Tensor, " V"], Float[Tensor, "V V"]],
) -> Float[Tensor, "B L"]:
    """Entropy of each token given all others, nats, where a source is a rule and a list of facts.

    The source draws one of the facts with the probability ``share``, else a sequence of the Markov
    chain. It is the conditional entropy (eq. (13)) of the source's perfect generalizer at t -> 0.

    Args:
        sequences: where to ask.
        facts: different sequences, equally likely.
        share: probability of all facts together, in (0, 1).
        rule: the chain's initial distribution and transition matrix, as of
            :class:`~uddm_lib.oracles.MarkovGeneralizer`.

    Raises:
        ValueError: if ``share`` is outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share!r} is not allowed; it must lie between 0 and 1")
    initial, transition = (law.double().log() for law in rule)
    length, each, entropies = sequences.shape[1], math.log(share / len(facts)), []
    place, tokens = torch.arange(length), torch.arange(len(initial))
    for x in sequences:
        changed = x.expand(length, len(tokens), length).clone()  # at a place, to a token
        changed[place, :, place] = tokens
        by_rule = initial[changed[..., 0]] + transition[changed[..., :-1], changed[..., 1:]].sum(-1)
        is_fact = (changed[:, :, None] == facts).all(-1).any(-1)
        by_heart = torch.full_like(by_rule, -math.inf).masked_fill(is_fact, each)
        log_p = torch.logaddexp(by_rule + math.log1p(-share), by_heart)
        entropies.append(torch.special.entr(log_p.softmax(1)).sum(1))
    return torch.stack(entropies)


def argmax_alpha(
    gammas: Iterable[float], vocab_size: int, draws: int, seed: int = 1
) -> pd.DataFrame:
    """alpha of the argmax of noisy one-hot vectors, by drawing Gaussians (eq. (15)-(17)).

    Args:
        gammas: noise levels gamma, as in :func:`~uddm_lib.schedule.duality_alpha`.
        vocab_size: V.
        draws: vectors of V Gaussians at each gamma.
        seed: of the draws.

    Returns:
        A table ``vocab_size, gamma, alpha, error``, with the binomial standard error.
    """
    generator, rows = torch.Generator().manual_seed(seed), []
    scale = vocab_size / (vocab_size - 1)
    for gamma in gammas:
        share = _kept_share(gamma, vocab_size, draws, generator)
        rows.append(
            {
                "vocab_size": vocab_size,
                "gamma": gamma,
                "alpha": scale * (share - 1 / vocab_size),
                "error": scale * math.sqrt(share * (1 - share) / draws),
            }
        )
    return pd.DataFrame(rows)


def _kept_share(gamma: float, vocab_size: int, draws: int, generator: torch.Generator) -> float:
    """Share of ``draws`` noisy one-hot vectors whose argmax is the token that they encode."""
    signal, noise = (math.sqrt(1 / (1 + math.exp(sign * gamma))) for sign in (1, -1))
    batch = max(1, 2**24 // vocab_size)  # at most 64 MB of Gaussians
    kept = 0.0
    for start in range(0, draws, batch):
        w = noise * torch.randn(min(batch, draws - start), vocab_size, generator=generator)
        w[:, 0] += signal
        kept += (w.argmax(1) == 0).sum().item()
    return kept / draws


def double_well(
    stiffness: Sequence[float], coupling: float = 4.0, points: int = 2001
) -> pd.DataFrame:
    """Entropy against curvature in one well of a double well (eq. (19)-(23)).

    The energy is E(x, y) = k (x^2 - 1)^2 / 4 + c (y - x)^2 / 2. Its Hessian at the minima (1, 1)
    and (-1, -1) is [[2 k + c, -c], [-c, c]], of determinant 2 k c.

    Args:
        stiffness: values of k, positive.
        coupling: c, positive.
        points: quadrature points in x; the integral over y is a Gaussian's.

    Returns:
        A table ``stiffness, log_det, entropy, laplace``, in nats: the entropy of p = exp(-E) / Z
        restricted to x > 0, by quadrature, and log(2 pi e) - log_det / 2, which eq. (23) puts in
        its place.
    """
    x = torch.linspace(0, 3, points, dtype=torch.float64)
    rows = []
    for k in stiffness:
        well = k * (x**2 - 1) ** 2 / 4
        mass = torch.trapezoid(torch.exp(-well), x)
        in_x = torch.trapezoid(torch.exp(-well) * well, x) / mass + mass.log()
        given_x = 0.5 * math.log(2 * math.pi * math.e / coupling)
        log_det = math.log(2 * k * coupling)
        rows.append(
            {
                "stiffness": k,
                "log_det": log_det,
                "entropy": in_x.item() + given_x,
                "laplace": math.log(2 * math.pi * math.e) - log_det / 2,
            }
        )
    return pd.DataFrame(rows)
