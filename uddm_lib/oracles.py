"""Exact denoisers: the network that memorized its training set, or learned its source.

Both return the *leave-one-out* conditional p(x^l | z_t without position l), which is the optimum of
the NELBO (paper eq. (3)). With it in place of the clean token, the posterior of eq. (2) is the
exact reverse process. They are denoisers like the trained network, so every probe takes them.
Log-weights are kept in float64 whatever is returned: near alpha = 1 a single mismatch costs
log(1 + V alpha / (1 - alpha)) nats, 29 at alpha = 1 - 1e-8 and V = 30,522.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from uddm_lib import _checks
from uddm_lib.facts import Facts
from uddm_lib.schedule import Level

__all__ = [
    "UNDERFLOW",
    "MarkovGeneralizer",
    "Memorizer",
    "OrdinaryPosterior",
    "inverse_temperature",
]

UNDERFLOW = 600.0  # nats below the largest at which float64 sums still see an exponential


def inverse_temperature(sigma: Level, vocab_size: int) -> Float[Tensor, "..."]:
    """beta_t = log(1 + V alpha_t / (1 - alpha_t)), the log-odds of the clean token.

    They compare the clean token with one given other token as the noisy one. beta_t is the inverse
    temperature of the associative memory that :class:`Memorizer` is.

    Args:
        sigma: noise level -log alpha_t, positive.
        vocab_size: V.

    Returns:
        Nats, float64, the shape of ``sigma``.

    Raises:
        ValueError: if a noise level is not positive.
    """
    sigma = torch.as_tensor(sigma, dtype=torch.float64)
    if not (sigma > 0).all():
        raise ValueError(
            f"sigma holds {sigma.min():g}; allowed is sigma > 0 (at 0 nothing is noisy)"
        )
    return torch.log1p(vocab_size * torch.exp(-sigma) / -torch.expm1(-sigma))


class Memorizer:
    """The perfect memorizer of a training set: the dense associative memory of its sequences.

    A stored sequence x_i has the weight exp(beta_t overlap(z_t, x_i)), position l left out. This is
    the modern Hopfield network with a softmax over stored patterns. The diffusion time sets its
    inverse temperature.

    Args:
        sequences: stored tokens in [0, V); repeated rows count as often as they occur.
        vocab_size: V.
        dtype: floating-point type of what :meth:`denoise` returns.

    Raises:
        ValueError: if ``sequences`` is empty, has another shape, or holds a token outside the
            vocabulary.
    """

    def __init__(
        self, sequences: Int[Tensor, "n L"], vocab_size: int, dtype: torch.dtype = torch.float32
    ) -> None:
        if sequences.ndim != 2 or not sequences.numel():
            raise ValueError(
                f"sequences has shape {tuple(sequences.shape)}; allowed is (n, L), not empty"
            )
        _checks.tokens("sequences", sequences, vocab_size)
        self.sequences, self.vocab_size, self.dtype = sequences, vocab_size, dtype

    @property
    def length(self) -> int:
        """L, the number of tokens a sequence."""
        return self.sequences.shape[1]

    @torch.no_grad()
    def denoise(self, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B L V"]:
        """Log-probabilities of the clean tokens.

        Tokens that no stored sequence has at a position get -inf. So do those whose sequences all
        lie more than some 700 nats below the nearest one, where a float64 exponential is zero.

        Args:
            z_t: noisy tokens.
            sigma: noise level -log alpha_t > 0, a number or shape (), (B,) or (B, 1).

        Returns:
            Log-probabilities. They and B n overlaps need memory.

        Raises:
            ValueError: if a noise level, a token or the shape of ``z_t`` is out of range.
        """
        beta, overlap = self._overlap(z_t, sigma)
        below = overlap - overlap.amax(1, keepdim=True)
        weights = torch.exp(beta[:, None] * below).T.contiguous()
        log_p = torch.empty(*z_t.shape, self.vocab_size, dtype=self.dtype, device=z_t.device)
        for position, (stored, noisy) in enumerate(zip(self.sequences.T, z_t.long().T)):
            totals = weights.new_zeros(self.vocab_size, len(z_t)).index_add_(0, stored, weights)
            # The sequences that have z_t's token here, and only they, owe this position one factor
            # exp(beta).
            row = totals.T.log().scatter_add(1, noisy[:, None], -beta[:, None])
            log_p[:, position] = row.log_softmax(-1)
        return log_p

    @torch.no_grad()
    def energy(self, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, " B"]:
        """-log sum_i exp(beta_t overlap(z_t, x_i)), the energy of a dense associative memory.

        It is float64. Up to a constant it is -log p(z_t) of the noisy training set. For the
        arguments see :meth:`denoise`.
        """
        beta, overlap = self._overlap(z_t, sigma)
        return -torch.logsumexp(beta[:, None] * overlap, 1)

    @torch.no_grad()
    def weights(self, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B n"]:
        """p(x_i | z_t), the softmax over stored sequences, float64; see :meth:`denoise`."""
        beta, overlap = self._overlap(z_t, sigma)
        return torch.softmax(beta[:, None] * overlap, 1)

    def _overlap(
        self, z_t: Int[Tensor, "B L"], sigma: Level
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, "B n"]]:
        """beta_t, and the number of equal tokens of each noisy and stored sequence; float64."""
        _check_noisy(z_t, self.length, self.vocab_size)
        beta = _per_sequence(inverse_temperature(sigma, self.vocab_size), z_t)
        # cdist counts mismatches; float32 holds every token id below 2^24.
        return beta, self.length - torch.cdist(z_t.float(), self.sequences.float(), p=0).double()


class MarkovGeneralizer:
    """The perfect generalizer of a Markov chain, by forward-backward in O(L V^2).

    Args:
        initial: distribution of the first state.
        transition: row i is the distribution of the state after i.
        dtype: floating-point type of what :meth:`denoise` returns.

    Raises:
        ValueError: if the shapes don't fit, or a distribution is negative or doesn't sum to 1.
    """

    def __init__(
        self,
        initial: Float[Tensor, " V"],
        transition: Float[Tensor, "V V"],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.vocab_size = len(initial)
        if transition.shape != (self.vocab_size, self.vocab_size):
            raise ValueError(
                f"transition has shape {tuple(transition.shape)}; "
                f"with {self.vocab_size} states allowed is {(self.vocab_size, self.vocab_size)}"
            )
        for name, law in (("initial", initial), ("transition", transition)):
            total = law.double().sum(-1)
            if not (law >= 0).all() or not torch.allclose(total, total.new_ones(()), atol=1e-6):
                raise ValueError(
                    f"{name} holds negative values or rows that don't sum to 1; "
                    "allowed are distributions"
                )
        self.log_initial = initial.double().log()
        self.transition, self.dtype = transition.double(), dtype

    @torch.no_grad()
    def denoise(self, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B L V"]:
        """Log-probabilities of the clean tokens, -inf where the chain excludes one.

        Sequences may have any length. For the arguments see :meth:`Memorizer.denoise`.

        Raises:
            ValueError: if a noise level or a token is out of range.
        """
        _check_noisy(z_t, z_t.shape[-1], self.vocab_size)
        beta = _per_sequence(inverse_temperature(sigma, self.vocab_size), z_t)
        # Up to a constant, a noisy token is worth beta nats to the state that it shows.
        observed = torch.nn.functional.one_hot(z_t.long(), self.vocab_size) * beta[:, None, None]
        length = z_t.shape[1]
        left = [self.log_initial.expand(len(z_t), -1)]
        for position in range(length - 1):
            left.append(_propagate(left[-1] + observed[:, position], self.transition))
        right = [torch.zeros_like(left[0])]
        for position in range(length - 1, 0, -1):
            right.append(_propagate(right[-1] + observed[:, position], self.transition.T))
        log_p = torch.stack(left, 1) + torch.stack(right[::-1], 1)
        return log_p.log_softmax(-1).to(self.dtype)


class OrdinaryPosterior:
    """p(x^l | z_t), which also sees a position's own noisy token: the optimum of cross-entropy.

    It is the leave-one-out conditional r weighed with that token, r(v) q(z_t^l | v). Its facts say
    so: sampling and probes convert it back.

    Args:
        leave_one_out: gives log r up to a constant; :class:`MarkovGeneralizer`, for instance.
    """

    facts = Facts(family="exact", output="denoiser")

    def __init__(self, leave_one_out: "Memorizer | MarkovGeneralizer") -> None:
        self.leave_one_out, self.vocab_size = leave_one_out, leave_one_out.vocab_size

    @torch.no_grad()
    def denoise(self, z_t: Int[Tensor, "B L"], sigma: Level) -> Float[Tensor, "B L V"]:
        """Log-probabilities of the clean tokens; see :meth:`Memorizer.denoise`."""
        log_r = self.leave_one_out.denoise(z_t, sigma)
        beta = _per_sequence(inverse_temperature(sigma, self.vocab_size), z_t)
        observed = torch.nn.functional.one_hot(z_t.long(), self.vocab_size) * beta[:, None, None]
        return (log_r + observed).log_softmax(-1).to(log_r.dtype)


def _propagate(
    log_message: Float[Tensor, "B V"], matrix: Float[Tensor, "V V"]
) -> Float[Tensor, "B V"]:
    """log(exp(log_message) @ matrix) without underflow."""
    top = log_message.amax(1, keepdim=True)
    gap = top - log_message
    if torch.where(gap.isinf(), 0.0, gap).max() < UNDERFLOW:
        return torch.log(torch.exp(-gap) @ matrix) + top
    # Rare (long runs of contradicting tokens): sums term by term, (B, V, V) of them.
    return torch.logsumexp(log_message[:, :, None] + matrix.log(), 1)


def _per_sequence(beta: Float[Tensor, "..."], z_t: Int[Tensor, "B L"]) -> Float[Tensor, " B"]:
    return beta.to(z_t.device).reshape(-1).expand(len(z_t))


def _check_noisy(z_t: Int[Tensor, "B L"], length: int, vocab_size: int) -> None:
    if z_t.ndim != 2 or z_t.shape[1] != length:
        raise ValueError(f"z_t has shape {tuple(z_t.shape)}; allowed is (B, {length})")
    _checks.tokens("z_t", z_t, vocab_size)
