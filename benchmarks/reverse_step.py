"""One stochastic reverse step, network included, against a posterior over the vocabulary.

The published side draws from a float64 posterior with Gumbel noise. Two steps are measured: the
last, where every token depends on the prediction, and the middle one of 1,000 (the paper's grid).
There most tokens stay whatever is predicted, and their logits are not computed. With ``trajectory``
the network is not even asked about sequences made of such tokens alone.
"""

import functools

import measure
import published
import torch

from uddm_lib import denoiser
from uddm_lib.diffusion import fused_reverse_step, reverse_weights
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.sampling import T_END, time_grid
from uddm_lib.schedule import LogLinearSchedule

BATCH, LENGTH, VOCAB = 512 if measure.GPU else 8, 128, 30_522


@functools.cache
def problem():
    torch.manual_seed(0)
    model = (
        UDDM(UDDMConfig.named("tiny", vocab_size=VOCAB, length=LENGTH)).eval().to(measure.DEVICE)
    )
    torch.nn.init.normal_(model.head.weight, std=0.05)
    return model, torch.randint(
        VOCAB, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1)
    ).to(measure.DEVICE)


def levels(steps):
    """(alpha_s, alpha_t, sigma_t) of the middle step of a grid; without ``steps`` of its end."""
    schedule = LogLinearSchedule()
    if steps is None:
        return torch.ones((), dtype=torch.float64), schedule.alpha(T_END), schedule.sigma(T_END)
    t, s = time_grid(steps)[steps // 2 : steps // 2 + 2]
    return schedule.alpha(s), schedule.alpha(t), schedule.sigma(t)


def of_logits(step):
    return lambda model, z_t, sigma, *rest: step(model.denoise(z_t, sigma), z_t, *rest)


def fused(model, z_t, sigma, *rest):
    return fused_reverse_step(
        model.hidden(z_t, sigma), model.head.weight, model.head.bias, z_t, *rest
    )


def trajectory(model, z_t, sigma, alpha_s, alpha_t, generator):
    weights = reverse_weights(alpha_s, alpha_t).on(z_t.device)
    return denoiser.step(model, z_t, sigma, weights, generator)


def network(model, z_t, sigma, *rest):
    return model.hidden(z_t, sigma)


def side(step, steps, bf16=False):
    def prepare():
        model, z_t = problem()
        alpha_s, alpha_t, sigma = levels(steps)
        generator = torch.Generator(measure.DEVICE).manual_seed(2)

        @torch.inference_mode()
        def work():
            with torch.autocast(measure.DEVICE.type, torch.bfloat16, enabled=bf16):
                return step(model, z_t, sigma, alpha_s, alpha_t, generator)

        return work

    return prepare


def sides(steps):
    return {
        "published, fp32 and fp64": side(of_logits(published.reverse_step), steps),
        "fused, fp32": side(fused, steps),
        "fused, bf16": side(fused, steps, True),
        "trajectory, fp32": side(trajectory, steps),
        "trajectory, bf16": side(trajectory, steps, True),
        "network alone, fp32": side(network, steps),
        "network alone, bf16": side(network, steps, True),
    }


if __name__ == "__main__":
    measure.main(
        "reverse_step",
        {
            "noise removal at the end": sides(None),
            "middle step of 1,000": sides(1000),
        },
        f"tiny, B = {BATCH}, L = {LENGTH}, V = {VOCAB:,}",
    )
