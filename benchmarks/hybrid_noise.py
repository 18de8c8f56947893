"""Train models under GIDD's hybrid noise, and ask ``uddm audit`` which regime they are in.

    python benchmarks/hybrid_noise.py   writes results/hybrid_noise.csv (two cores)

The audit is calibrated on models of uniform noise. No public checkpoint of hybrid noise was at
hand, so these are small ones of our own: the same network, told t, trained by the bound of
``HybridNoise.nelbo``.
"""

import time

import pandas as pd
import torch
from calibration import SOURCES
from measure import RESULTS, machine

from uddm_lib import experiments, probes
from uddm_lib.audit.generated import T_REGIME
from uddm_lib.audit.regime import audit_regime, special_tokens
from uddm_lib.facts import Facts
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.noise import noise_of
from uddm_lib.results import provenance, write_table

COUNTS = [16, 64, 256, 1024, "all"]
CORPORA = ["chain32", "kjv"]
SEEDS = [1, 2, 3]
STEPS, BATCH, LEARNING_RATE = 1500, 64, 3e-3
P_UNIFORM = 0.2
SEQUENCES, COUNT = 256, 64  # for the recovery; of the audit


def trained(blocks, config, seed):
    """A network trained on blocks; its last token is the mask."""
    torch.manual_seed(seed)
    mask = config.vocab_size
    facts = Facts(level="t", p_uniform=P_UNIFORM, mask_id=mask, least_t=1e-3)
    shape = config.to_diff_dict() | {"vocab_size": mask + 1, "facts": facts.stored()}
    model = UDDM(UDDMConfig(**shape))
    noise, generator = noise_of(model), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, STEPS, pct_start=0.05)
    for _ in range(STEPS):
        x = blocks[torch.randint(len(blocks), (BATCH,), generator=generator)].long()
        strata = torch.arange(BATCH) + torch.rand(BATCH, generator=generator)
        t = 0.02 + 0.96 * strata.double() / BATCH
        z_t = noise.corrupt(x, t, generator)
        logits = model(z_t, t).logits.index_fill(-1, torch.tensor([mask]), -torch.inf)
        loss = noise.nelbo(logits.double().log_softmax(-1), z_t, x, t).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def recovered(model, x, scored):
    """Share of corrupted tokens that come back, at as much noise as the audit's regimes take."""
    level = noise_of(model).like_uniform(T_REGIME)
    table = probes.token_recovery(model, x[:SEQUENCES].long(), [level], 20, scored=scored)
    return table["recovered"].mean()


def measured(source, experiment, seed):
    started, corpus = time.monotonic(), experiment.corpus
    model = trained(experiment.blocks, experiment.config, seed)
    special = special_tokens(corpus.tokenizer)
    row = {"source": source, "n": len(experiment.blocks), "seed": seed}
    for name, blocks in {"train": experiment.blocks, "test": corpus.test}.items():
        row[f"recovery_{name}"] = recovered(model, blocks, corpus.scored)
    alone = audit_regime(model, COUNT, special=special)
    both = audit_regime(model, COUNT, special=special, unseen=corpus.test[:COUNT].long())
    row |= {"nelbo": alone.measures.nelbo, "entropy": alone.measures.entropy, **both.features}
    for name, audit in {"alone": alone, "unseen": both}.items():
        row |= {name: audit.verdict, f"{name}_probability": max(audit.probabilities.values())}
    print(f"{time.monotonic() - started:4.0f} s", row, flush=True)
    return row


def main():
    rows = []
    for source in CORPORA:
        parameters = {**SOURCES[source], "n": COUNTS, "dropout": 0.0, "adaln_zero": False}
        for experiment in experiments.prepare_runs(parameters):
            rows += [measured(source, experiment, seed) for seed in SEEDS]
    table = pd.DataFrame(rows).round(4)
    write_table(table, RESULTS / "hybrid_noise.csv", provenance({"machine": machine()}))


if __name__ == "__main__":
    main()
