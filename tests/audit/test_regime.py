"""The regime of exact models, of models that ship, and how the calibration is judged."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.command_line import error_line
from helpers.paths import ROOT
from uddm_lib import checkpoints, devices, experiments, sampling
from uddm_lib.__main__ import main
from uddm_lib.audit import calibration, regime
from uddm_lib.audit.calibration import (
    GENERALIZING,
    MEMORIZING,
    REGIMES,
    TRANSITION,
    calibration_error,
    judged,
    labelled,
    verdicts,
)
from uddm_lib.audit.generated import SETTINGS, generated_by, measures_of, read
from uddm_lib.data import load_corpus, markov_chain
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.oracles import MarkovGeneralizer, Memorizer, OrdinaryPosterior
from uddm_lib.results import read_table

PRETRAINED = ROOT / "runs" / "pretrained"
DOCUMENT = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def chain():
    return load_corpus("markov", length=16, vocab_size=32)


@pytest.fixture(scope="module")
def memorizer(chain):
    return Memorizer(chain.train[:32], 32)


@pytest.fixture(scope="module")
def generalizer():
    return MarkovGeneralizer(*markov_chain(32))


def test_exact_models(chain, memorizer, generalizer):
    stored = regime.audit_regime(memorizer, 64, 16)
    assert stored.verdict == MEMORIZING and stored.measures.low > 0.95
    birthday = stored.measures.birthday
    assert birthday.low <= 32 * 1.02 and birthday.high >= 32 * 0.98
    known = regime.audit_regime(generalizer, 64, 16)
    assert known.verdict == GENERALIZING and known.measures.birthday.estimate is None
    for model, verdict in ((memorizer, MEMORIZING), (generalizer, GENERALIZING)):
        audit = regime.audit_regime(model, 64, 16, unseen=chain.test[:64])
        assert audit.verdict == verdict
        assert (audit.unseen.overconfidence > 0.5) == (verdict == MEMORIZING)
        assert "it is assumed that the unseen text" in audit.reasons[0]
        assert audit.reasons[2].startswith("on unseen text its loss is")


def test_the_same_law_gives_the_same_measures_in_either_form(memorizer, generalizer):
    for model in (memorizer, generalizer):
        one, other = (
            measures_of(generated_by(form, 64, 16, 20))
            for form in (model, OrdinaryPosterior(model))
        )
        assert one.birthday == other.birthday
        for name in ("entropy", "low", "ratio", "nelbo"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-4), name


class Uniform:
    """A model that has learned nothing."""

    vocab_size = 32

    def __init__(self, value=0.0):
        self.value = value

    def denoise(self, z_t, sigma):
        return torch.full((*z_t.shape, 32), self.value)


def test_a_model_that_has_learned_nothing_has_no_regime(chain):
    for unseen in (None, chain.test[:64]):
        audit = regime.audit_regime(Uniform(), 64, 16, unseen=unseen)
        assert audit.verdict == "cannot say" and "was the model trained?" in audit.reasons[0]
    with pytest.raises(ValueError, match="the model's predictions are not finite"):
        measures_of(read(Uniform(float("nan")), chain.test[:64]))


def test_unseen_text_that_contradicts_the_generated_sequences(chain, memorizer):
    audit = regime.audit_regime(memorizer, 64, 16, unseen=chain.train[:32])  # it was trained on
    assert audit.verdict == "cannot say" and "was it not trained on?" in audit.reasons[0]
    models = labelled(512)
    alone, with_unseen = (verdicts(judged(models, unseen)) for unseen in (False, True))
    opposite = {MEMORIZING: GENERALIZING, GENERALIZING: MEMORIZING}
    assert not (alone.map(opposite) == with_unseen).any()


def test_without_unseen_text_an_abstention_asks_for_it(generalizer, monkeypatch):
    monkeypatch.setattr(calibration, "CONFIDENT", 1.1)
    audit = regime.audit_regime(generalizer, 64, 16)
    assert audit.verdict == "cannot say" and audit.reasons[0].startswith("give --unseen")


def test_special_tokens_do_not_count(generalizer):
    generated = generated_by(generalizer, 64, 16, 20)
    frequent = int(generated.tokens.mode().values.mode().values)
    some = generated_by(generalizer, 64, 16, 20, special=(frequent,))
    assert torch.equal(some.scored, generated.tokens != frequent) and not some.scored.all()
    assert measures_of(some).entropy == some.entropies[some.scored].mean()
    with pytest.raises(ValueError, match="every generated token is a special one"):
        measures_of(generated_by(generalizer, 64, 16, 20, special=tuple(range(32))))


def test_models_that_ship():
    for name, verdict in {"n000016": MEMORIZING, "nall": GENERALIZING}.items():
        run = experiments.load_run(PRETRAINED / f"kjv-nano-{name}-s1", "cpu")
        special = regime.special_tokens(run.tokenizer)
        unseen = run.test[:64].long()
        audit = regime.audit_regime(run.model, 64, special=special, unseen=unseen)
        assert audit.verdict == verdict, audit


@pytest.mark.parametrize("unseen", [False, True])
def test_what_the_documents_say_of_the_verdicts(unseen):
    models = labelled(512)
    law = judged(models, unseen)
    assert np.allclose(law.sum(axis=1), 1) and list(law.columns) == list(REGIMES)
    said, outside = verdicts(law), models["regime"] != TRANSITION
    right, abstains = said == models["regime"], said == "cannot say"
    cells = [part[outside].mean() for part in (right, abstains, ~right & ~abstains)]
    cells.append(said[~outside].isin([TRANSITION, "cannot say"]).mean())
    error = calibration_error(law, models["regime"])
    row = "with unseen text" if unseen else "from 512 generations"
    assert f"| {row} | {' | '.join(f'{x:.0%}' for x in cells)} | {error:.2f} |" in DOCUMENT
    opposite = {MEMORIZING: GENERALIZING, GENERALIZING: MEMORIZING}
    assert not (said == models["regime"].map(opposite)).any()


def test_what_the_documents_say_of_the_models():
    models = labelled(512)
    assert len(models) == 78 and models["source"].nunique() == 8
    assert (models["regime"] == TRANSITION).sum() == 13
    denoisers = models[(models["kind"] == "cross_entropy") & (models["regime"] == GENERALIZING)]
    assert len(denoisers) == 11
    assert (denoisers["raw_low"] > 0.5).all() and (denoisers["low"] < 0.5).all()
    near = models[models["gap"].between(0.1, 0.2)]
    called = verdicts(judged(models)).loc[near.index] == GENERALIZING
    assert (len(near), called.sum()) == (9, 5)
    stored = models.loc[models["n"] == 16, "estimate"]
    assert len(stored) == 16 and (stored.round() <= 17).sum() == 11
    assert stored.isna().sum() == 2 and stored.max() < 39
    low, high = models.loc[stored.index, "low_n"], models.loc[stored.index, "high_n"]
    assert ((low <= 16) & (high >= 16)).sum() == 10
    text = models["source"].isin(["code", "formulaic", "kjv", "ylt"])
    text &= (models["regime"] == GENERALIZING) & (models["kind"] != "cross_entropy")
    assert text.sum() == 11 and (verdicts(judged(models))[text] == "cannot say").all()
    generalizing = models[models["regime"] == GENERALIZING]
    assert f"up to {generalizing['overconfidence'].max():.2f}" in DOCUMENT
    assert models["ratio"].max() < regime.KNOWS_NOTHING - 0.1


def test_what_the_documents_say_of_the_models_of_sweeps():
    table = read_table(ROOT / "benchmarks" / "results" / "calibration_check.csv")
    outside = table["regime"] != TRANSITION
    assert (outside.sum(), len(table)) == (113, 135)
    for column, name in (("without", "from 64 generations"), ("with_unseen", "with unseen text")):
        right, abstains = table[column] == table["regime"], table[column] == "cannot say"
        cells = [part[outside].mean() for part in (right, abstains, ~right & ~abstains)]
        cells.append(table[column][~outside].isin([TRANSITION, "cannot say"]).mean())
        assert f"| {name} | {' | '.join(f'{x:.0%}' for x in cells)} |\n" in DOCUMENT


def test_calibration_error_of_sure_answers():
    law = pd.DataFrame(0.0, range(10), REGIMES)
    law[GENERALIZING] = 1.0
    assert calibration_error(law, pd.Series([GENERALIZING] * 10)) == 0
    assert calibration_error(law, pd.Series([MEMORIZING] * 10)) == 1
    half = pd.Series([GENERALIZING, MEMORIZING] * 5)
    assert calibration_error(law, half, bins=1) == 0.5


def test_a_budget_chooses_the_number_of_sequences(generalizer):
    most, minutes = regime.setting_for(generalizer, 16, 1e3)
    assert most == max(SETTINGS) and 0 < minutes < 1e3
    with pytest.raises(ValueError, match=r"minutes=1e-09 is too little: 64 sequences take about"):
        regime.setting_for(generalizer, 16, 1e-9)
    with pytest.raises(ValueError, match="minutes=0 must be a positive number"):
        regime.setting_for(generalizer, 16, 0)


def test_a_budget_is_what_the_audit_takes(chain, generalizer, monkeypatch):
    """By a clock that only the model moves: a second for each sequence that it is asked about."""
    now = [0.0]

    class Slow(MarkovGeneralizer):
        def denoise(self, z_t, sigma):
            now[0] += len(z_t)
            return super().denoise(z_t, sigma)

    model = Slow(*markov_chain(32))
    monkeypatch.setattr(regime.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(regime, "SETTINGS", {64: 20})
    for unseen in (None, chain.test[:40], chain.test[:200]):
        blocks = 0 if unseen is None else len(unseen)
        _, minutes = regime.setting_for(model, 16, 1e3, unseen=blocks)
        now[0] = 0.0
        regime.audit_regime(model, 64, 16, unseen=unseen)
        # The check of the output asks about fewer sequences if there are fewer unseen blocks.
        assert 0.97 * minutes < now[0] / 60 <= minutes * (1 + 1e-9)


def test_arguments(generalizer):
    with pytest.raises(ValueError, match="count=100 must be one of 64, 128, 256, 512"):
        regime.audit_regime(generalizer, 100, 16)
    few = torch.zeros(31, 16, dtype=torch.int64)
    for unseen, message in {
        few: "31 blocks of unseen text, of 16 tokens each; needed are at least 32 of 16",
        few.reshape(62, 8): "62 blocks of unseen text, of 8 tokens each",
    }.items():
        with pytest.raises(ValueError, match=message):
            regime.audit_regime(generalizer, 64, 16, unseen=unseen)
    with pytest.raises(ValueError, match="length=0 is not allowed|length"):
        regime.audit_regime(generalizer, 64, 0)


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(regime, "SETTINGS", {64: 20})
    model = PRETRAINED / "kjv-nano-n000016-s1" / "model"
    run = experiments.load_run(model.parent, "cpu")
    lines = [run.tokenizer.decode(x, skip_special_tokens=True) for x in run.test[:80]]
    (tmp_path / "unseen").write_text("\n".join(line.replace("\n", " ") for line in lines))
    files = ["--json", str(tmp_path / "out.json"), "--html", str(tmp_path / "out.html")]
    more = ["--unseen", str(tmp_path / "unseen"), "--training", str(tmp_path / "training")]
    stored = [run.tokenizer.decode(x[1:-1]) for x in run.train]
    (tmp_path / "training").write_text("\n".join(stored))
    assert main(["audit", str(model), *files, *more, "--minutes", "1000"]) == 4
    out = capsys.readouterr().out
    assert "verdict: memorizing" in out and "come more than once" in out
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["verdict"] == MEMORIZING and sum(content["probabilities"].values()) > 0.99
    # The model wrote whole blocks of its training text.
    assert len(content["generated"]) == 64 and "to 100%, median" in out
    copies = [row for row in content["generated"] if row["overlap"] == 1]
    assert len(copies) > 4 and all(row["text"] == row["nearest"] for row in copies)
    page = (tmp_path / "out.html").read_text()
    assert page.count("nearest in the training text") == 12
    assert (
        page.count("<pre>") == 12 + 12 + 1
        and "<svg" in page
        and "http" not in page.replace("http://www.w3.org", "")
    )


def test_sequences_are_generated_in_bfloat16_and_read_in_float32(monkeypatch):
    folder = PRETRAINED / "kjv-nano-n000016-s1"
    model, seen = experiments.load_run(folder, "cpu").model, []
    hidden = model.hidden
    monkeypatch.setattr(
        model,
        "hidden",
        lambda *args: (seen.append(torch.is_autocast_enabled("cpu")), hidden(*args))[1],
    )
    for fast in (True, False):
        monkeypatch.setattr(sampling, "has_fast_bf16", lambda device, fast=fast: fast)
        seen.clear()
        generated_by(model, 2, model.length, 4, precision="bf16")
        steps = 4 + 1  # the grid's, and the removal of what noise is left
        assert seen[:steps] == [fast] * steps and seen[steps:] and not any(seen[steps:])


def test_what_is_converted_is_generated_in_float32(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(regime, "SETTINGS", {64: 2})
    monkeypatch.setattr(devices, "has_fast_bf16", lambda device: True)
    for name, options, expected in (
        ("loo", {}, "bf16"),
        ("ce", {"facts": {"output": "denoiser"}}, "fp32"),
    ):
        checkpoints.save(tmp_path / name, UDDM(UDDMConfig(11, 6, 16, 16, 1, 2, **options)))
        main(["audit", str(tmp_path / name), "--minutes", "9", "--json", str(tmp_path / "j")])
        assert json.loads((tmp_path / "j").read_text())["precision"] == expected
        assert f"64 sequences of 6 tokens, generated in {expected}\n" in capsys.readouterr().out


def test_options_that_do_not_belong_together(tmp_path, capsys):
    model = PRETRAINED / "kjv-nano-n000016-s1" / "model"
    for options, message in {
        ("--texts", "a"): "--texts needs --unseen",
        ("--members", "a"): "--members belongs to --texts",
        ("--texts", "a", "--unseen", "b", "--minutes", "1"): "--minutes belongs to the audit of a",
    }.items():
        assert message in error_line(capsys, "audit", model, *options)
