"""The live page in a browser, against the package: the same logits, tokens, steps and counts."""

import base64
import copy
import json
import os
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from helpers.browser import ask, needs_chromium
from uddm_lib import denoiser, diffusion, environment, experiments, metrics, sampling
from uddm_lib.live import html_page
from uddm_lib.live.contents import LARGEST
from uddm_lib.live.page_command import SHIPPED
from uddm_lib.schedule import LogLinearSchedule

TIMES = [1e-5, 0.05, 0.3, 0.7, 1.0]
SCHEDULE = LogLinearSchedule()
SENTENCES = [
    "In the beginning God created the heaven and the earth.",
    "And the earth was without form, and void;",
    "  two  spaces, and   three   ",
    "a\ttab, a\nnew line\r\nand both",
    "It's what they've said: I'll go, he'd stay, we're here, I'm not, can't",
    "'s 't 'LL 'Ve ''d",
    "1769 numbers, 2½ and ٣ and ²",
    "naïve café, Ærø, Æneas",
    "日本語の文 и русский текст",
    "an emoji 👍🏽 and a flag 🇳🇴",
    "no-break\u00a0space, next\u0085line, thin\u2009space, \ufeffmark",
    "</s> and <s> and <unk> are text here",
    "the the the thethe ththth ndnd",
    " leading space",
    "trailing space ",
    "   ",
    "",
    "!!! ,,, ...the--end (of) [it]{all}",
    "e\u0301 combining, \x1c and \x00 control",
    "XYZ xyz _under_score @#$%^&*",
]

# What the browser is asked. `given` holds the inputs.
SCRIPT = """
const given = JSON.parse(document.getElementById("given").textContent);
const { networks, schedule, tokenizer, inner } = page;
const base64 = (floats) => {
  let text = "";
  for (const byte of new Uint8Array(floats.buffer)) text += String.fromCharCode(byte);
  return btoa(text);
};
const flat = (parts) => Float32Array.from(parts.flatMap((part) => Array.from(part)));
const allLogits = networks.map((network) =>
  given.inputs.map(({ tokens, t }) => network.logits(tokens, schedule.sigma(t))));
const logits = allLogits.map((parts) => base64(flat(parts)));
const steps = allLogits.map((parts) => given.inputs.map(({ tokens, t, s, u }, i) => {
  const weights = reverseWeights(s ? schedule.alpha(s) : 1, schedule.alpha(t));
  return tokens.map((token, p) =>
    nextToken(probabilities(parts[i], p, page.vocabulary), token, weights, u[p]));
}));
const grids = given.grids.map(([steps, start]) => timeGrid(steps, start));
const sigmas = given.inputs.map(({ t }) => schedule.sigma(t));
const encoded = given.sentences.map((sentence) => tokenizer.encode(sentence));
const decoded = given.inputs.map(({ tokens }) => tokenizer.decode(tokens));

const byName = (name) => document.getElementById(name);
const set = (name, value) => { byName(name).value = value; };
const runPage = (noise, seed) => {
  set("noise", noise); set("seed", seed);
  page.reset();
  page.finish();
  return page.processes.map((process) => process.tokens);
};
const restored = given.picks.map((pick) => {
  page.chooser.pick(pick);
  runPage(0.3, 1);
  return page.processes.map((process, i) => ({
    clean: page.tokens, start: page.start, end: process.tokens, counts: page.cards[i].counts,
    entropies: Array.from(process.entropies), nearest: page.cards[i].nearestTokens,
  }));
});
const again = [runPage(0.5, 7), runPage(0.5, 8), runPage(0.5, 7)];
const corruptions = [0.1, 0.3, 1].map((t) =>
  corrupt(page.tokens, inner, schedule.oneMinusAlpha(t), page.vocabulary, 3));
const draws = new Random(5);
const uniform = Array.from({ length: 20000 }, () => draws.uniform());

const timeSteps = () => {
  set("noise", 1); page.reset();
  const seconds = [];
  while (!page.isOver) {
    const start = performance.now();
    page.advance();
    seconds.push((performance.now() - start) / 1000);
  }
  return seconds;
};
const seconds = [timeSteps(), timeSteps()];

const shown = () => ({
  status: byName("status").textContent, note: byName("text-note").textContent,
  progress: byName("progress-label").textContent, play: byName("play").textContent,
  clean: page.tokens, text: byName("text").value, pick: byName("pick").value,
  facts: page.cards.map((card) => card.facts.textContent),
  cleanHidden: page.clean.node.hidden, marksHidden: byName("marks").hidden,
  predictions: byName("look").textContent,
});
const press = (name) => byName(name).click();
page.chooser.pick(given.picks[0]);
set("noise", 0.4);
page.reset();
press("step");
const stepped = shown();
press("play"); press("play");
const paused = shown();
set("text", "And it came to pass"); page.chooser.type();
const typed = shown();
set("text", "One.\\nTwo."); page.chooser.type();
const lines = shown();
set("text", "x".repeat(500)); page.chooser.type();
const long = shown();
document.querySelector("input[value=generate]").click();
const noise = shown();
page.finish();
const generated = { ...shown(), ends: page.processes.map((process) => process.tokens),
  predictions: page.processes.map(({ inner, predictions }) =>
    inner.map((position) => modeOf(predictions[position]))) };
set("position", 5);
byName("position").dispatchEvent(new Event("input"));
const spoken = byName("position").getAttribute("aria-valuetext");
set("seed", "-3"); page.reset();
const seedAfterNonsense = byName("seed").value;
const fields = Array.from(document.querySelectorAll("input, select, textarea"));
const unlabeled = fields.filter((field) => !field.labels.length).map((field) => field.id);
const results = { logits, steps, grids, sigmas, encoded, decoded, restored, again, corruptions,
  uniform, seconds, stepped, paused, typed, lines, long, noise, generated, spoken,
  seedAfterNonsense, unlabeled, width: document.documentElement.scrollWidth - innerWidth };
"""


@pytest.fixture(scope="module")
def runs():
    return experiments.load_runs(list(SHIPPED), device="cpu")


@pytest.fixture(scope="module")
def page(runs):
    with pytest.MonkeyPatch.context() as patch:  # the corpus is loaded once
        patch.setattr(html_page, "load_runs", lambda folders, device: runs)
        return html_page.live_page(SHIPPED)


@pytest.fixture(scope="module")
def contents(page):
    return json.loads(re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.fixture(scope="module")
def inputs(runs):
    """20 noisy sequences, each at one of five times, with the end and the draws of a step."""
    generator = torch.Generator().manual_seed(1)
    clean = torch.cat([runs[0].train[:10], runs[0].test[:10]])
    inputs = []
    for i, tokens in enumerate(clean):
        t = TIMES[i % len(TIMES)]
        z_t = diffusion.corrupt(tokens[None], SCHEDULE.alpha(t), 80, generator)
        u = diffusion.uniform_draws(z_t, generator)
        s = 0.0 if i < 5 else 0.6 * t
        inputs.append({"tokens": z_t[0].tolist(), "t": t, "s": s, "u": u[0].tolist()})
    return inputs


GRIDS = [(100, 1.0), (100, 0.3), (20, 0.33), (7, 0.01)]
PICKS = [0, 3, 24, 30]  # two training sequences of both models, two unseen ones


@pytest.fixture(scope="module")
def told(page, inputs, tmp_path_factory):
    given = {"inputs": inputs, "sentences": SENTENCES, "grids": GRIDS, "picks": PICKS}
    escaped = json.dumps(given).replace("<", "\\u003c")
    data = f'<script type="application/json" id="given">{escaped}</script>'
    asking = page.replace("<body>", f"<body>{data}")
    return ask(asking, SCRIPT, tmp_path_factory.mktemp("browser"))


def noisy(inputs):
    return torch.tensor([given["tokens"] for given in inputs])


@needs_chromium
def test_logits_are_those_of_pytorch(told, runs, inputs, worst):
    sigma = SCHEDULE.sigma([given["t"] for given in inputs])
    for run, encoded in zip(runs, told["logits"]):
        logits = np.frombuffer(base64.b64decode(encoded), "<f4").reshape(20, 64, 80)
        with torch.inference_mode():
            expected = run.model.denoise(noisy(inputs), sigma).numpy()
        worst("live page: logits", "PyTorch", np.abs(logits - expected).max(), 1e-4)
        with torch.inference_mode():  # of which most is PyTorch's own rounding
            precise = copy.deepcopy(run.model).double()
            head = precise.head
            expected = F.linear(precise.hidden(noisy(inputs), sigma), head.weight, head.bias)
        error = np.abs(logits - expected.numpy()).max()
        worst("live page: logits", "PyTorch in double precision", error, 3e-5)


@needs_chromium
def test_text_is_cut_as_the_tokenizer_of_the_runs_cuts_it(told, runs):
    backend = runs[0].tokenizer.backend_tokenizer
    backend.encode_special_tokens = True  # as in packing: "</s>" in a text is text
    try:
        expected = [backend.encode(text, add_special_tokens=False).ids for text in SENTENCES]
    finally:
        backend.encode_special_tokens = False
    assert len(SENTENCES) == 20 and told["encoded"] == expected


@needs_chromium
def test_tokens_become_text_as_the_tokenizer_does_it(told, runs, inputs):
    for text, given in zip(told["decoded"], inputs):
        kept = [token for token in given["tokens"] if token != 1]
        expected = runs[0].tokenizer.decode(kept, skip_special_tokens=True)
        assert text.count("\n") == given["tokens"].count(1)
        if "\ufffd" not in text + expected:  # bytes apart from each other are no characters
            assert text.replace("\n", "") == expected


@needs_chromium
def test_steps_are_those_of_the_package(told, runs, inputs):
    for run, steps in zip(runs, told["steps"]):
        different = 0
        for given, step in zip(inputs, steps):
            z_t, u = torch.tensor([given["tokens"]]), torch.tensor([given["u"]]).double()
            alpha_s = SCHEDULE.alpha(given["s"]) if given["s"] else torch.ones((), dtype=u.dtype)
            alpha_t = SCHEDULE.alpha(given["t"])
            weights = diffusion.reverse_weights(alpha_s, alpha_t)
            with torch.inference_mode():
                logits = run.model.denoise(z_t, SCHEDULE.sigma(given["t"]))
            expected = diffusion.step_from_hidden(logits, torch.eye(80), None, z_t, weights, u)
            different += int((expected != torch.tensor([step])).sum())
        assert different <= 1  # of 1,280: a draw may lie within rounding of a bound


@needs_chromium
def test_times_are_those_of_the_package(told, inputs):
    for (steps, start), grid in zip(GRIDS, told["grids"]):
        expected = sampling.time_grid(steps, start)
        assert torch.allclose(torch.tensor(grid, dtype=torch.float64), expected, atol=1e-15)
    sigmas = SCHEDULE.sigma([given["t"] for given in inputs])
    assert torch.allclose(torch.tensor(told["sigmas"], dtype=torch.float64), sigmas, rtol=1e-12)


@needs_chromium
def test_restorations_are_counted_as_the_package_counts(told, runs):
    for restored in told["restored"]:
        for run, shown in zip(runs, restored):
            names = ("clean", "start", "end")
            clean, start, end = (torch.tensor([shown[name]]) for name in names)
            row = metrics.recovery_rates(clean, start, end, run.scored).iloc[0]
            counts = shown["counts"]
            assert counts["corrupted"] == row["corrupted"] > 5
            assert counts["recovered"] / counts["corrupted"] == pytest.approx(row["recovered"])
            assert counts["changed"] / counts["untouched"] == pytest.approx(row["unstable"])
            assert torch.equal(start[:, ~run.scored], clean[:, ~run.scored])
            assert torch.equal(end[:, ~run.scored], clean[:, ~run.scored])


@needs_chromium
def test_entropies_at_the_end_are_those_at_the_least_time(told, runs, worst):
    for run, shown in ((run, one[i]) for one in told["restored"] for i, run in enumerate(runs)):
        end, found = torch.tensor([shown["end"]]), torch.tensor(shown["entropies"])
        expected = denoiser.entropy(run.model, end, SCHEDULE.sigma(sampling.T_END))[0]
        error = (found - expected)[run.scored].abs().max()
        worst("live page: entropy", "PyTorch, nats", error, 1e-4)


@needs_chromium
def test_the_nearest_training_sequence_is_the_nearest(told, runs, contents):
    count = contents["searched"]["count"]
    for restored in told["restored"]:
        for run, shown in zip(runs, restored):
            end, nearest = torch.tensor([shown["end"]]), torch.tensor([shown["nearest"]])
            stored = run.train[:count]
            best = metrics.novelty(end, stored, run.scored)["overlap"][0]
            assert (end == nearest)[:, run.scored].double().mean() == pytest.approx(best)
            assert (stored == nearest).all(1).any()


@needs_chromium
def test_the_memorizer_gives_back_what_it_has_stored_and_nothing_else(told):
    for pick, (memorizer, _) in zip(PICKS, told["restored"]):
        share = memorizer["counts"]["recovered"] / memorizer["counts"]["corrupted"]
        assert share > 0.9 if pick < 16 else share < 0.5


@needs_chromium
def test_a_seed_determines_what_happens(told):
    first, other, again = told["again"]
    assert first == again and first != other
    weak, strong, noise = (np.array(tokens) for tokens in told["corruptions"])
    clean = np.array(told["restored"][-1][0]["clean"])
    hit = weak != clean  # what a small t hits, a larger one hits alike
    assert hit.any() and (weak[hit] == strong[hit]).all() and (weak[hit] == noise[hit]).all()
    assert (strong != clean).sum() > hit.sum()
    uniform = np.array(told["uniform"])
    assert uniform.min() >= 0 and uniform.max() < 1 and abs(uniform.mean() - 0.5) < 0.01
    assert np.histogram(uniform, 10, (0, 1))[0].min() > 1800


@needs_chromium
def test_a_hundred_steps_of_both_models_take_less_than_two_seconds(told):
    runs = np.array(told["seconds"])
    assert runs.shape == (2, 101)
    load, cores = os.getloadavg()[0], environment.available_cores()
    if load > cores:
        pytest.skip(f"the machine is busy: a load of {load:.1f} on {cores} cores")
    assert runs.min(0).sum() < 2


@needs_chromium
def test_controls(told):
    stepped, paused, noise = told["stepped"], told["paused"], told["noise"]
    assert stepped["progress"].startswith("Step 1 of 41, t = 0.3")
    assert re.match(r"Stepped\. Step 1 of 41\. n = 16: \d+ of \d+ recovered", stepped["status"])
    assert paused["status"].startswith("Paused.") and paused["play"] == "Play"
    assert noise["cleanHidden"] and noise["marksHidden"] and not paused["marksHidden"]
    assert noise["progress"] == "Step 0 of 101, t = 1.000"
    assert "Recovered" in stepped["facts"][0] and "Recovered" not in noise["facts"][0]
    assert told["generated"]["status"].startswith("Done. Step 101 of 101.")
    assert told["spoken"].startswith("5, start ") and "n = 52640 has " in told["spoken"]
    assert told["seedAfterNonsense"] == "1"
    assert not told["unlabeled"]


@needs_chromium
def test_text_of_the_reader(told, runs, contents):
    tokenizer = runs[0].tokenizer

    def ids(text):
        return tokenizer.encode(text, add_special_tokens=False)

    filler = contents["picks"][-1]["tokens"][1:-1]
    typed, lines, long = told["typed"], told["lines"], told["long"]
    document = ids("And it came to pass")
    assert typed["clean"] == [0, *[*document, 1, *filler][:62], 1] and typed["pick"] == "own"
    assert f"{len(document)} tokens. The page has filled it up to 62." in typed["note"]
    two = [*ids("One."), 1, *ids("Two.")]
    assert lines["clean"][1 : len(two) + 2] == [*two, 1]
    assert long["clean"][1:-1] == ids("x") * 62 and "The last 438 are cut off" in long["note"]


def test_the_page_is_one_small_file_that_asks_for_nothing(page):
    assert len(page.encode()) <= LARGEST
    assert not re.search(r"\b(src|href)=[\"'](?!data:)", page)
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|@import|url\(", page)
    assert "default-src 'none'" in page and '<html lang="en">' in page


def test_what_the_page_holds(contents, runs):
    assert [run["n"] for run in contents["runs"]] == [16, 52640]
    assert contents["inner"] == list(range(1, 63)) and contents["searched"]["count"] > 1000
    held = np.frombuffer(base64.b64decode(contents["searched"]["blocks"]), np.uint8)
    sample = runs[1].train[: contents["searched"]["count"]]
    assert np.array_equal(held.reshape(-1, 64), sample.numpy())
    assert torch.equal(runs[0].train, runs[1].train[:16])
    kinds = {tuple(pick["members"]) for pick in contents["picks"]}
    assert kinds == {(True, True), (False, True), (False, False)}
    for run, held in zip(runs, contents["runs"]):
        halves = np.frombuffer(base64.b64decode(held["weights"]), "<f2").astype(np.float32)
        weights = torch.cat([value.flatten() for value in run.model.state_dict().values()])
        assert np.array_equal(halves, weights.numpy())
