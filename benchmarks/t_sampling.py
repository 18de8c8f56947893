"""Uniform against importance-sampled times of training, on the King James Bible, size nano.

Measured are the variance of the loss by time, that of its estimate and of its gradient, and the
held-out loss at equal steps.
"""

import itertools
import json
import tempfile

import measure
import torch

from uddm_lib.diffusion import corrupt, fused_loss, fused_nelbo
from uddm_lib.experiments import load_run, prepare, train_run
from uddm_lib.probes import validation_nelbo
from uddm_lib.schedule import LogLinearSchedule
from uddm_lib.training.batches import sample_times

SCHEDULE, T_MIN, BATCH = LogLinearSchedule(), 1e-3, 64
STEPS, SEEDS = 1_000, (1, 2, 3)
TRAINING = {
    "corpus": "kjv",
    "length": 64,
    "vocab_size": 80,
    "size": "nano",
    "n": "all",
    "dropout": 0.0,
    "adaln_zero": False,
    "steps": STEPS,
    "batch_size": BATCH,
    "learning_rate": 4e-3,
    "warmup_steps": 100,
    "ema_decay": 0.99,
    "lr_schedule": "linear",
    "t_min": T_MIN,
    "precision": "bf16",
}


def hidden_states(model, x, t, generator):
    alpha = SCHEDULE.alpha(t)
    z_t = corrupt(x, alpha, model.vocab_size, generator)
    head = model.head
    return (
        model.hidden(z_t, SCHEDULE.sigma(t)),
        head.weight,
        head.bias,
        z_t,
        x,
        alpha,
        SCHEDULE.dalpha(t),
    )


def by_time(run, edges=(1e-3, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0), draws=2_048):
    """Mean and deviation over sequences of the NELBO's integrand, nats per token, by bins of t."""
    generator, rows = torch.Generator().manual_seed(0), []
    for low, high in itertools.pairwise(edges):
        x = run.train[torch.randint(len(run.train), (draws,), generator=generator)]
        t = low + (high - low) * torch.rand(draws, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            values = fused_nelbo(*hidden_states(run.model, x, t, generator)).mean(1)
        rows.append(
            {"t": [low, high], "mean": values.mean().item(), "deviation": values.std().item()}
        )
    return rows


def estimate(run, sampling, batches=100):
    """Spread of a batch's loss (nats per token) and gradient (norm of the deviations)."""
    generator, losses, gradients = torch.Generator().manual_seed(0), [], []
    for _ in range(batches):
        x = run.train[torch.randint(len(run.train), (BATCH,), generator=generator)]
        t, weight = sample_times(BATCH, T_MIN, generator, sampling)
        run.model.zero_grad()
        loss = fused_loss(*hidden_states(run.model, x, t, generator), weight[:, None] / x.numel())
        loss.backward()
        losses.append(loss.item())
        gradients.append(
            torch.cat([parameter.grad.flatten() for parameter in run.model.parameters()])
        )
    return {
        "loss": torch.tensor(losses).mean().item(),
        "loss_deviation": torch.tensor(losses).std().item(),
        "gradient_deviation": torch.stack(gradients).var(0).sum().sqrt().item(),
    }


def at_equal_steps(sampling):
    """Held-out NELBO (nats per token) after ``STEPS`` steps, for every seed."""
    nelbos = []
    for seed in SEEDS:
        experiment = prepare(TRAINING | {"t_sampling": sampling, "seed": seed})
        with tempfile.TemporaryDirectory() as folder:
            model = train_run(experiment, f"{folder}/run").model.cpu()
        corpus = experiment.corpus
        nelbos.append(validation_nelbo(model, corpus.test, corpus.scored, draws=4).mean().item())
    return nelbos


def main():
    torch.set_num_threads(1)
    run = load_run("runs/pretrained/kjv-nano-nall-s1", "cpu")
    record = {
        "benchmark": "t_sampling",
        "about": f"kjv, nano, batch {BATCH}, {STEPS} steps, seeds {SEEDS}",
        "machine": measure.machine(),
        "by_time": by_time(run),
    }
    for sampling in ("uniform", "importance"):
        record[sampling] = estimate(run, sampling) | {"held_out_nelbo": at_equal_steps(sampling)}
    measure.RESULTS.mkdir(exist_ok=True)
    (measure.RESULTS / "t_sampling.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
