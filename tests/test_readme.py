"""The table of differences says what the profile laptop does."""

import re

import yaml

from helpers.paths import ROOT
from uddm_lib.experiments import load_run


def test_differences_are_those_of_the_laptop_profile():
    table = (ROOT / "docs" / "differences.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (.*?) \| .* \| (.*) \|$", table, re.MULTILINE))
    profile = yaml.safe_load((ROOT / "runs" / "laptop.yaml").read_text(encoding="utf-8"))
    text, chain = profile["experiments"]
    training, other = text["training"], chain["training"]
    assert (text["corpus"], chain["corpus"]) == ("kjv", "markov")
    assert f"V = {text['vocab_size']} (almost characters), L = {text['length']}" in rows["corpus"]
    assert f"V = {chain['vocab_size']}, L = {chain['length']}" in rows["corpus"]
    blocks = len(load_run("runs/pretrained/kjv-nano-nall-s1").train)
    assert text["n"][-1] == "all"
    assert rows["training sequences n"] == (
        f"text: {len(text['n'])} values, {text['n'][0]} to {blocks:,}; "
        f"chain: {len(chain['n'])} values, {chain['n'][0]} to {chain['n'][-1]:,}"
    )
    assert rows["trainings a point"] == str(len(text["seeds"])) == str(len(chain["seeds"]))
    assert rows["steps, the same for every n"] == (
        f"text {training['steps']:,}, chain {other['steps']:,}, "
        f"of {training['batch_size']} sequences"
    )
    warmup = f"{training['warmup_steps']} (text) and {other['warmup_steps']} (chain)"
    assert warmup in rows["learning rate (`lr_schedule`)"]
    assert (training["learning_rate"], other["learning_rate"]) == (1.5e-2, 1e-2)
    assert "1.5e-2 (text) and 1e-2 (chain)" in rows["optimizer (`optimizer`)"]
    assert rows["averaged weights (`ema_decay`)"] == str(training["ema_decay"])
    assert rows["training times (`t_min`, `t_sampling`)"].endswith(f"from {training['t_min']}")
    assert {"optimizer": "muon", "lr_schedule": "linear", "t_sampling": "importance"}.items() <= (
        training.items()
    )
    for experiment in (text, chain):
        for name, stage in (("recovery", "recovery"), ("generation", "entropy")):
            assert rows[f"stochastic reverse steps, {name}"] == str(experiment[stage]["steps"])
        assert rows["sequences of a set, recovery"] == str(experiment["recovery"]["sequences"])
        assert rows["sequences, generation"] == str(experiment["entropy"]["generated"])
        assert "curriculum" not in experiment["training"]


def test_the_desktop_profile_is_the_text_of_the_laptop_profile_with_more_points():
    laptop, desktop = (
        yaml.safe_load((ROOT / "runs" / f"{name}.yaml").read_text(encoding="utf-8"))["experiments"]
        for name in ("laptop", "desktop")
    )
    changes = {"sizes": ["micro", "nano", "pico"], "n": desktop[0]["n"]}
    for stage, counts in (("recovery", ["sequences"]), ("entropy", ["sequences", "generated"])):
        changes[stage] = laptop[0][stage] | dict.fromkeys(counts, 512)
    assert desktop == [laptop[0] | changes]
    assert set(laptop[0]["n"]) < set(desktop[0]["n"]) and len(desktop[0]["n"]) == 9
