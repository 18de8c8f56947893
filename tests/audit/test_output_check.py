"""The measured check of the output, by laws that are known and by models that ship."""

import json
import shutil

import pytest
import torch

from helpers.paths import ROOT
from uddm_lib import checkpoints, experiments
from uddm_lib.__main__ import main
from uddm_lib.audit import regime, texts
from uddm_lib.audit.output_check import LEAST, SEQUENCES, check_output
from uddm_lib.facts import Facts
from uddm_lib.noise import hybrid_noise
from uddm_lib.oracles import inverse_temperature

V, L, MASK = 11, 12, 4
HYBRID = {"level": "t", "p_uniform": 0.2, "mask_id": MASK}
MEMORIZER = ROOT / "runs" / "pretrained" / "kjv-nano-n000016-s1" / "model"


class Independent:
    """Tokens of one law each: the leave-one-out law is that, whatever the other tokens are."""

    vocab_size, length = V, L

    def __init__(self, law, truth, facts=None):
        self.law, self.truth, self.rows = law.log(), truth, 0
        self.facts = facts or Facts()

    def denoise(self, z_t, level):
        self.rows += len(z_t)
        noise = hybrid_noise(self.facts, V)
        excess = {
            "leave-one-out": lambda: torch.zeros(z_t.shape, dtype=torch.float64),
            "denoiser": lambda: (
                noise.token_log_odds(z_t, level)
                if noise
                else inverse_temperature(level, V).expand(z_t.shape)
            ),
            "approximate": lambda: noise.dynamic_excess(z_t, level),
        }[self.truth]()
        logits = self.law.expand(*z_t.shape, -1).scatter_add(-1, z_t[..., None], excess[..., None])
        return logits.log_softmax(-1)


def law_of_tokens():
    law = torch.rand(V, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    law[MASK] = 1e-300
    return law / law.sum()


def sequences(count=100):
    x = torch.multinomial(
        law_of_tokens().expand(count, -1),
        L,
        replacement=True,
        generator=torch.Generator().manual_seed(2),
    )
    return list(zip(x, torch.ones(count, L, dtype=torch.bool)))


@pytest.mark.parametrize("noise", [{}, HYBRID], ids=["uniform", "hybrid"])
def test_it_tells_what_an_exact_output_is(noise):
    outputs = ["leave-one-out", "denoiser", *(["approximate"] if noise else [])]
    for output in outputs:
        for stated in outputs:
            model = Independent(law_of_tokens(), output, Facts(output=stated, **noise))
            check = check_output(model, sequences())
            assert check.stated == stated and check.contradicts == (stated != output), check
            assert list(check.moved) == outputs and check.moved[output] < 1e-9
            found = "does not contradict" if stated == output else "is contradicted"
            assert found in check.reason and f"0.00 if it is read as {output}" in check.reason
            assert model.rows == 2 * SEQUENCES


def test_only_some_positions_are_drawn():
    """Here the token at position 0 alone is seen."""

    class First(Independent):
        def denoise(self, z_t, level):
            seen = super().denoise(z_t, level)
            return torch.cat([seen[:, :1], self.law.expand(len(z_t), L - 1, -1)], 1)

    model, others = First(law_of_tokens(), "denoiser"), torch.arange(L) > 0
    some = [(x, others) for x, _ in sequences()]
    assert check_output(model, some).moved["leave-one-out"] == 0
    assert check_output(model, [(x, ~others) for x, _ in some]).contradicts
    none = [(x, others & False) for x, _ in some]
    assert check_output(model, none + some) == check_output(model, some)
    with pytest.raises(ValueError, match="tokens that count: 0; 2 or more"):
        check_output(model, none)


def test_a_model_that_is_sure_of_every_token_is_not_checked():
    law = torch.full((V,), 1e-9, dtype=torch.float64)
    law[3] = 1
    check = check_output(Independent(law, "denoiser"), sequences())
    assert not check.contradicts and max(check.moved.values()) < LEAST


def test_a_difference_within_two_standard_errors_is_no_contradiction():
    """Of a few sequences one alone moves, as much as you like."""

    class One(Independent):
        def denoise(self, z_t, level):
            first = self.rows == 0
            self.truth = "denoiser" if first else "leave-one-out"
            return super().denoise(z_t, level)

    check = check_output(One(law_of_tokens(), ""), sequences(2))
    assert check.moved["leave-one-out"] > 0.03 and not check.contradicts


def misread(tmp_path, name):
    """A shipped model, whose facts are then wrong."""
    folder = tmp_path / name
    shutil.copytree(MEMORIZER.parent.parent / name / "model", folder)
    config = json.loads((folder / "config.json").read_text())
    config["facts"] = {"output": "denoiser", "least_t": 0.05}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_wrong_facts_of_a_model_that_ships(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(regime, "SETTINGS", {64: 20})
    folder = misread(tmp_path, "kjv-nano-nall-s1")
    files = [str(tmp_path / name) for name in ("out.json", "out.html")]
    options = ["--json", files[0], "--html", files[1], "--minutes", "1000"]
    assert main(["audit", str(folder), *options]) == 3
    out = capsys.readouterr().out
    assert "verdict: cannot say" in out and "output='denoiser' is contradicted" in out
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["reasons"][0].startswith("output='denoiser' is contradicted")
    assert len(set(content["reasons"])) == len(content["reasons"])
    assert content["output"]["stated"] == "denoiser" and len(content["output"]["moved"]) == 2
    assert "output=&#x27;denoiser&#x27; is contradicted" in (tmp_path / "out.html").read_text()


def test_it_costs_little():
    """A call of the model reads one sequence or more; here they are counted by sequences."""
    model = Independent(law_of_tokens(), "leave-one-out")
    audit = regime.audit_regime(model, 64)
    assert model.rows == 64 * (21 + 1 + 8) + 2 * SEQUENCES and not audit.output.contradicts
    document = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert f"{2 * SEQUENCES} beside {64 * 30:,} or {512 * 60:,}" in document


def test_an_audit_of_texts_warns(tmp_path):
    folder = misread(tmp_path, "kjv-nano-nall-s1")
    run = experiments.load_run(MEMORIZER.parent, "cpu")
    parts = run.test[:104].split([4, 100])
    given = [[run.tokenizer.decode(x, skip_special_tokens=True) for x in part] for part in parts]
    model = checkpoints.load(folder)
    found = texts.audit_texts(model, run.tokenizer, *given)
    assert found.output.contradicts and found.reasons[-1] == found.output.reason
    assert found.verdict == "nothing found"
