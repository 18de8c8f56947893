"""Runs of other shapes on the live page, and what it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from helpers.browser import ask, needs_chromium
from helpers.command_line import error_line
from helpers.paths import ROOT
from uddm_lib import checkpoints
from uddm_lib.experiments import TrainedRun
from uddm_lib.live import html_page
from uddm_lib.live.contents import page_contents
from uddm_lib.model import UDDM, UDDMConfig

SHAPE = dict(hidden_size=12, cond_dim=5, n_blocks=1, n_heads=3, mlp_ratio=3, adaln_zero=False)


def characters(size):
    """A tokenizer of single characters, as that of the corpus markov."""
    words = Tokenizer(models.WordLevel({chr(0x4E00 + i): i for i in range(size)}))
    words.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=words)


def make_run(vocab_size=301, length=7, n=20, tokenizer=None, **changes):
    """An untrained run; sizes are odd where they may be."""
    torch.manual_seed(0)
    config = UDDMConfig(vocab_size, length, **SHAPE | {"frequency_embedding_size": 6} | changes)
    model = UDDM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape) / 4).copy_(weight.half())
    blocks = torch.randint(vocab_size, (n + 5, length))
    return TrainedRun(
        Path("runs/odd"),
        model,
        tokenizer or characters(vocab_size),
        blocks[:n],
        blocks[n:],
        torch.ones(length, dtype=torch.bool),
        {"corpus": "odd", "size": "own", "seed": 1},
    )


@needs_chromium
@pytest.mark.parametrize("time_conditioning", [True, False])
def test_runs_of_other_shapes(monkeypatch, tmp_path, time_conditioning):
    run = make_run(time_conditioning=time_conditioning)
    monkeypatch.setattr(html_page, "load_runs", lambda folders, device: [run])
    script = """
    const { tokens } = page.data.picks[0];
    const logits = Array.from(page.networks[0].logits(tokens, 0.7));
    page.finish();
    const [card] = page.cards, [first] = page.searched.sequences.slice(7);
    const nearest = card.nearestTitle.textContent;
    document.getElementById("text").value = "a";
    page.chooser.type();
    const note = document.getElementById("text-note").textContent;
    const results = { tokens, logits, first, nearest, note };
    """
    told = ask(html_page.live_page(["odd"]), script, tmp_path)
    with torch.inference_mode():
        expected = run.model.denoise(run.train[:1], 0.7)[0]
    assert told["tokens"] == run.train[0].tolist() and told["first"] == run.train[1, 0]
    assert np.abs(np.array(told["logits"]).reshape(7, 301) - expected.numpy()).max() < 1e-4
    assert re.match(r"Nearest training sequence: \d of 7 tokens equal", told["nearest"])
    assert told["note"] == "“a” is no token of these models."


def test_the_command_writes_the_page(monkeypatch, tmp_path, capsys):
    from uddm_lib.__main__ import main

    monkeypatch.setattr(html_page, "load_runs", lambda folders, device: [make_run()])
    monkeypatch.chdir(tmp_path)
    assert main(["page", "runs/odd", "--output", "live.html"]) == 0
    page = (tmp_path / "live.html").read_text(encoding="utf-8")
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'live.html'}: {len(page.encode()):,}")
    assert page.startswith("<!doctype html>") and "{{" not in page
    held = json.loads(re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)[1])
    assert held["searched"]["count"] == 20 and held["searched"]["wide"]


def test_what_the_command_refuses(tmp_path, capsys):
    output = tmp_path / "live.html"
    assert "output='live.pdf' must end in .html" in error_line(
        capsys, "page", "--output", "live.pdf"
    )
    five = [f"runs/{i}" for i in range(5)]
    line = error_line(capsys, "page", *five, "--output", output)
    assert "runs: got 5; the page holds 1 to 4" in line
    line = error_line(capsys, "page", tmp_path / "none", "--output", output)
    assert str(tmp_path / "none") in line and not output.exists()
    assert "--output" in error_line(capsys, "page")


def test_runs_that_the_page_cannot_hold():
    with pytest.raises(ValueError, match="runs: got 0; the page holds 1 to 4"):
        page_contents([])
    with pytest.raises(ValueError, match=r"odd: output='denoiser' under uniform noise; the page"):
        page_contents([make_run(facts={"output": "denoiser"})])
    with pytest.raises(ValueError, match=r"runs: their 1,\d+,\d+ weights take more than the page"):
        page_contents([make_run(hidden_size=384, n_heads=3)])
    run = make_run()
    with torch.no_grad():
        run.model.head.bias[0] = 1e6
    with pytest.raises(ValueError, match="odd: head.bias does not fit into half precision"):
        page_contents([run])


def test_tokenizers_that_the_page_does_not_have():
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    given = PreTrainedTokenizerFast(tokenizer_object=words)
    with pytest.raises(ValueError, match=r"tokenizer: WordLevel after .*Whitespace.* not allowed"):
        page_contents([make_run(vocab_size=2, tokenizer=given)])
    learned = checkpoints.load_tokenizer(ROOT / "runs/pretrained/kjv-nano-nall-s1/model")
    parts = json.loads(learned.backend_tokenizer.to_str())
    parts["normalizer"] = {"type": "NFC"}
    changed = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(parts)))
    for given in (changed, learned):
        run = make_run(vocab_size=80, length=8, tokenizer=given)
        if given is learned:
            assert page_contents([run])["tokenizer"]["merges"][0] == ["t", "h"]
        else:
            with pytest.raises(ValueError, match="tokenizer: BPE after .*ByteLevel"):
                page_contents([run])
