"""Exact denoisers: what a network that memorized its training set, or learned its source, would predict.

Both return the *leave-one-out* conditional p(x^l | z_t without position l), which is the optimum of the NELBO
(paper eq. (3)): with it in place of the clean token, the posterior of eq. (2) is the exact reverse process.
They are denoisers like the trained network (``denoise(z_t, sigma) -> (B, L, V)``, ``vocab_size``), so every probe
takes them. Log-weights are kept in float64 whatever is returned: near alpha = 1 a single mismatch costs
log(1 + V alpha / (1 - alpha)) nats, 29 at alpha = 1 - 1e-8 and V = 30,522.
"""

import torch

__all__ = ["MarkovGeneralizer", "Memorizer", "inverse_temperature"]

UNDERFLOW = 600.0  # nats below the largest at which float64 sums still see an exponential


def inverse_temperature(sigma, vocab_size):
    """beta_t = log(1 + V alpha_t / (1 - alpha_t)): log-odds that a noisy token is the clean one, not a given other.

    It is the inverse temperature of the associative memory that :class:`Memorizer` is.

    Args:
        sigma: noise level -log alpha_t, positive, a number or any tensor.
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

    A stored sequence x_i has the weight exp(beta_t overlap(z_t, x_i)), position l left out: the modern Hopfield
    network with a softmax over stored patterns, at an inverse temperature set by the diffusion time.

    Args:
        sequences: stored tokens, integers of shape (n, L) in [0, V); repeated rows count as often as they occur.
        vocab_size: V.
        dtype: floating-point type of what :meth:`denoise` returns.

    Raises:
        ValueError: if ``sequences`` is empty, has another shape, or holds a token outside the vocabulary.
    """

    def __init__(self, sequences, vocab_size, dtype=torch.float32):
        if sequences.ndim != 2 or not sequences.numel():
            raise ValueError(
                f"sequences has shape {tuple(sequences.shape)}; allowed is (n, L), not empty"
            )
        _check_tokens(sequences, vocab_size, "sequences")
        self.sequences, self.vocab_size, self.dtype = sequences, vocab_size, dtype

    @property
    def length(self):
        return self.sequences.shape[1]

    @torch.no_grad()
    def denoise(self, z_t, sigma):
        """Log-probabilities of the clean tokens.

        Tokens that no stored sequence has at a position get -inf, and so do those whose sequences all lie more
        than 700 nats below the nearest one.

        Args:
            z_t: noisy tokens, shape (B, L).
            sigma: noise level -log alpha_t > 0, a number or shape (B,) or (B, 1).

        Returns:
            Shape (B, L, V). Needs memory for that, and for B n overlaps.

        Raises:
            ValueError: if a noise level, a token or the shape of ``z_t`` is out of range.
        """
        beta, overlap = self._overlap(z_t, sigma)
        weights = torch.exp(
            beta[:, None] * (overlap - overlap.amax(1, keepdim=True))
        ).T.contiguous()
        log_p = torch.empty(*z_t.shape, self.vocab_size, dtype=self.dtype, device=z_t.device)
        for position, (stored, noisy) in enumerate(zip(self.sequences.T, z_t.long().T)):
            totals = weights.new_zeros(self.vocab_size, len(z_t)).index_add_(0, stored, weights)
            # The sequences that have z_t's token here, and only they, owe this position one factor exp(beta).
            row = totals.T.log().scatter_add(1, noisy[:, None], -beta[:, None])
            log_p[:, position] = row.log_softmax(-1)
        return log_p

    @torch.no_grad()
    def energy(self, z_t, sigma):
        """-log sum_i exp(beta_t overlap(z_t, x_i)), the energy of a dense associative memory; float64, shape (B,).

        Up to a constant it is -log p(z_t), the noisy training set's. Arguments as in :meth:`denoise`.
        """
        beta, overlap = self._overlap(z_t, sigma)
        return -torch.logsumexp(beta[:, None] * overlap, 1)

    @torch.no_grad()
    def weights(self, z_t, sigma):
        """p(x_i | z_t), the softmax over stored sequences; float64, shape (B, n). Arguments as in :meth:`denoise`."""
        beta, overlap = self._overlap(z_t, sigma)
        return torch.softmax(beta[:, None] * overlap, 1)

    def _overlap(self, z_t, sigma):
        """beta_t (B,) and the number of equal tokens of each noisy and each stored sequence (B, n), float64."""
        _check_noisy(z_t, self.length, self.vocab_size)
        beta = _per_sequence(inverse_temperature(sigma, self.vocab_size), z_t)
        # cdist counts mismatches; float32 holds every token id below 2^24.
        return beta, self.length - torch.cdist(z_t.float(), self.sequences.float(), p=0).double()


class MarkovGeneralizer:
    """The perfect generalizer of a Markov chain: its leave-one-out conditional by forward-backward, O(L V^2).

    Args:
        initial: (V,) distribution of the first state.
        transition: (V, V), row i the distribution of the state after i.
        dtype: floating-point type of what :meth:`denoise` returns.

    Raises:
        ValueError: if the shapes don't fit or a distribution is negative or doesn't sum to 1.
    """

    def __init__(self, initial, transition, dtype=torch.float32):
        self.vocab_size = len(initial)
        if transition.shape != (self.vocab_size, self.vocab_size):
            raise ValueError(
                f"transition has shape {tuple(transition.shape)}; "
                f"with {self.vocab_size} states allowed is {(self.vocab_size, self.vocab_size)}"
            )
        for name, law in (("initial", initial), ("transition", transition)):
            if not (law >= 0).all() or not torch.allclose(
                law.double().sum(-1), law.new_ones(()).double(), atol=1e-6
            ):
                raise ValueError(
                    f"{name} holds negative values or rows that don't sum to 1; allowed are distributions"
                )
        self.log_initial, self.transition, self.dtype = (
            initial.double().log(),
            transition.double(),
            dtype,
        )

    @torch.no_grad()
    def denoise(self, z_t, sigma):
        """Log-probabilities of the clean tokens, -inf where the chain excludes one; arguments as in :meth:`Memorizer`.

        Sequences of any length L are taken.
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


def _propagate(log_message, matrix):
    """log(exp(log_message) @ matrix) without underflow, for (B, V) and (V, V)."""
    top = log_message.amax(1, keepdim=True)
    gap = top - log_message
    if torch.where(gap.isinf(), 0.0, gap).max() < UNDERFLOW:
        return torch.log(torch.exp(-gap) @ matrix) + top
    # Rare (long runs of contradicting tokens): sums term by term, (B, V, V) of them.
    return torch.logsumexp(log_message[:, :, None] + matrix.log(), 1)


def _per_sequence(beta, z_t):
    return beta.to(z_t.device).reshape(-1).expand(len(z_t))


def _check_noisy(z_t, length, vocab_size):
    if z_t.ndim != 2 or z_t.shape[1] != length:
        raise ValueError(f"z_t has shape {tuple(z_t.shape)}; allowed is (B, {length})")
    _check_tokens(z_t, vocab_size, "z_t")


def _check_tokens(tokens, vocab_size, name):
    if tokens.numel() and not 0 <= tokens.min() <= tokens.max() < vocab_size:
        raise ValueError(
            f"{name} holds token ids from {tokens.min()} to {tokens.max()}; "
            f"allowed are 0 to {vocab_size - 1}"
        )
