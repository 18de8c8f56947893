"""The reverse process from any start: generation, restoration, and the trajectory in between.

Everything here takes a denoiser (see :mod:`uddm_lib.denoiser`): the trained network, or an exact
solution of a known source. ``precision="bf16"`` lets a network take matrix products in bfloat16,
where the device has fast ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from uddm_lib import _checks
from uddm_lib.denoiser import Denoiser, mode, step
from uddm_lib.devices import has_fast_bf16
from uddm_lib.diffusion import HybridSteps, ReverseWeights
from uddm_lib.noise import Noise, noise_of

__all__ = [
    "T_END",
    "ReverseProcess",
    "generate",
    "restore",
    "reverse_process",
    "time_grid",
    "trajectory",
]

T_END = 1e-5


def time_grid(steps: int, start_t: float = 1.0) -> Float[Tensor, " T"]:
    """Times of the reverse loop, float64, from the one nearest to ``start_t`` on.

    The grid is that of the released code, linspace(1, 1e-5, steps + 1). The noise-removal step
    comes after its last time.

    Raises:
        ValueError: if ``steps`` is not a positive integer, or ``start_t`` outside (0, 1].
    """
    steps = _checks.positive_integer("steps", steps)
    if not 0 < start_t <= 1:
        raise ValueError(f"start_t={start_t!r} is outside (0, 1]")
    times = torch.linspace(1, T_END, steps + 1, dtype=torch.float64)
    return times[(times - start_t).abs().argmin() :]


@dataclass(frozen=True)
class ReverseProcess:
    """A reverse process, checked once by :func:`reverse_process` and run on any number of batches.

    Its grid has T times, from the start to 1e-5. One noise-removal step follows, so it takes T
    steps, which ``len`` tells.

    Attributes:
        times: of the grid, float64.
        levels: what the denoiser is told at these times, on the device of the tokens.
        weights: of the step that follows each time, likewise.
        active: whether that step can change anything.
        greedy: the posterior's mode is taken in place of a draw.
        final_greedy: the noise-removal step takes the mode of the prediction.
        bf16: matrix products of a network are in bfloat16.
    """

    times: Float[Tensor, " T"]
    levels: Float[Tensor, " T"]
    weights: ReverseWeights | HybridSteps
    active: tuple[bool, ...]
    greedy: bool
    final_greedy: bool
    bf16: bool

    def __len__(self) -> int:
        return len(self.times)

    def states(
        self, denoiser: Denoiser, z_t: Int[Tensor, "B L"], generator: torch.Generator | None
    ) -> Iterator[tuple[float, Int[Tensor, "B L"]]]:
        """Yield (t, z_t) at every time of the grid, and the clean end at t = 0."""
        yield self.times[0].item(), z_t
        for i, t in enumerate([*self.times[1:].tolist(), 0.0]):
            if self.active[i]:
                z_t = self._step(denoiser, z_t, i, generator)
            yield t, z_t

    def _step(
        self,
        denoiser: Denoiser,
        z_t: Int[Tensor, "B L"],
        i: int,
        generator: torch.Generator | None,
    ) -> Int[Tensor, "B L"]:
        last, level, weights = i == len(self) - 1, self.levels[i], self.weights.at(i)
        greedy = self.final_greedy if last else self.greedy
        with torch.autocast(z_t.device.type, torch.bfloat16, enabled=self.bf16):
            # Under hybrid noise a prediction at a token that is no mask may be untrained.
            if last and greedy and isinstance(weights, ReverseWeights):
                return mode(denoiser, z_t, level)
            return step(denoiser, z_t, level, weights, generator, greedy)

    def ends(
        self,
        denoiser: Denoiser,
        z_t: Int[Tensor, "B L"],
        generator: torch.Generator | None = None,
        batch_size: int | None = None,
        bar: tqdm | None = None,
    ) -> Int[Tensor, "B L"]:
        """The clean ends, ``batch_size`` sequences at a time (see :func:`restore`).

        A progress bar advances at every step by the number of sequences that took it.
        """
        if batch_size is None:
            batch_size = max(4096 // z_t.shape[1], 1) if z_t.device.type == "cpu" else 256
        ends = []
        for batch in z_t.split(_checks.positive_integer("batch_size", batch_size)):
            states = self.states(denoiser, batch, generator)
            next(states)  # the start
            for t, state in states:
                if bar is not None:
                    bar.update(len(batch))
                if t == 0:
                    ends.append(state)
        return torch.cat(ends)


def reverse_process(
    noise: Noise,
    start_t: float = 1.0,
    steps: int = 1000,
    greedy: bool = False,
    final_greedy: bool | None = None,
    precision: str = "fp32",
    device: torch.device | str = "cpu",
) -> ReverseProcess:
    """A reverse process for tokens on ``device``; the arguments are those of :func:`trajectory`.

    Raises:
        ValueError: if ``steps`` or ``start_t`` is out of range, or ``precision`` unknown.
    """
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision={precision!r} is not allowed; it must be one of fp32, bf16")
    device = torch.device(device)
    times, weights = noise.steps(time_grid(steps, start_t))
    return ReverseProcess(
        times=times,
        levels=noise.level(times).to(device),
        weights=weights.on(device),
        active=weights.can_change(greedy),
        greedy=greedy,
        final_greedy=greedy if final_greedy is None else final_greedy,
        bf16=precision == "bf16" and has_fast_bf16(device),
    )


def trajectory(
    denoiser: Denoiser,
    z_t: Int[Tensor, "B L"],
    start_t: float = 1.0,
    steps: int = 1000,
    greedy: bool = False,
    final_greedy: bool | None = None,
    generator: torch.Generator | None = None,
    noise: Noise | None = None,
    precision: str = "fp32",
) -> Iterator[tuple[float, Int[Tensor, "B L"]]]:
    """Yield (t, z_t) along the reverse process, from ``start_t`` down to the clean end.

    It starts at the grid time nearest to ``start_t``. The grid ends at t = 1e-5; one noise-removal
    step follows: a draw from the posterior at alpha_s = 1, or, when greedy, the mode of the
    prediction. The last pair has t = 0. Under hybrid noise the grid lies in the times that the
    model was trained at, and the greedy removal takes the mode of the posterior.

    In the greedy process a token moves only if (alpha_s - alpha_t) (p_top - p[z_t]) exceeds
    alpha_t (1 - alpha_s) / alpha_s + V alpha_t p[z_t]. On a fine grid no prediction can reach that
    except at the very end. So steps that provably change nothing are taken without asking the
    denoiser.

    Args:
        denoiser: predicts the clean tokens.
        z_t: tokens to start from, on the denoiser's device.
        start_t: time in (0, 1] of the start.
        steps: intervals of the grid over the whole of (0, 1].
        greedy: take the most probable token at every step in place of a draw.
        final_greedy: the same for the noise-removal step; as ``greedy`` by default.
        generator: source of randomness, on the device of ``z_t``.
        noise: by default the denoiser's, log-linear if it is uniform.
        precision: ``fp32``, or ``bf16`` for a network's matrix products in bfloat16, which moves
            predictions by about 1 %.

    Raises:
        ValueError: if ``steps`` or ``start_t`` is out of range, or ``precision`` unknown.
    """
    noise = noise_of(denoiser, noise)
    process = reverse_process(noise, start_t, steps, greedy, final_greedy, precision, z_t.device)
    return process.states(denoiser, z_t, generator)


def restore(
    denoiser: Denoiser,
    z_t: Int[Tensor, "B L"],
    start_t: float,
    steps: int = 1000,
    greedy: bool = False,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
    final_greedy: bool | None = None,
    noise: Noise | None = None,
    precision: str = "fp32",
) -> Int[Tensor, "B L"]:
    """Run the reverse process on corrupted tokens and return its end.

    Args:
        batch_size: sequences at a time; by default 256, or 4,096 tokens on a CPU, whose caches hold
            less. For the other arguments see :func:`trajectory`.

    Raises:
        ValueError: if an argument is out of range.
    """
    noise = noise_of(denoiser, noise)
    process = reverse_process(noise, start_t, steps, greedy, final_greedy, precision, z_t.device)
    return process.ends(denoiser, z_t, generator, batch_size)


def generate(
    denoiser: Denoiser,
    n: int,
    length: int,
    steps: int = 1000,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    show_progress: bool = False,
    greedy: bool = False,
    final_greedy: bool = True,
    noise: Noise | None = None,
    precision: str = "fp32",
) -> Int[Tensor, "{n} {length}"]:
    """Generate n sequences of ``length`` tokens from uniform noise (or masks: hybrid noise).

    The noise-removal step is greedy, as in the released code. For the other arguments see
    :func:`trajectory` and :func:`restore`.

    Args:
        device: of the denoiser. By default that of the generator or, without one, that which the
            denoiser names in its attribute ``device``, or the CPU.

    Raises:
        ValueError: if ``n``, ``length``, ``steps`` or ``batch_size`` is not a positive integer.
    """
    n, length = _checks.positive_integer("n", n), _checks.positive_integer("length", length)
    if device is None:
        device = getattr(denoiser, "device", "cpu") if generator is None else generator.device
    noise = noise_of(denoiser, noise)
    process = reverse_process(noise, 1.0, steps, greedy, final_greedy, precision, device)
    z_t = noise.start(n, length, generator, device)
    with tqdm(total=n * len(process), desc="generation", disable=not show_progress) as bar:
        return process.ends(denoiser, z_t, generator, batch_size, bar)
