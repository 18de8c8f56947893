"""The audit of texts on models that ship: one has memorized sixteen blocks, one generalizes."""

import json
import re

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from helpers.command_line import error_line
from helpers.paths import ROOT
from uddm_lib import checkpoints, data, experiments
from uddm_lib.__main__ import main
from uddm_lib.audit import scores, significance
from uddm_lib.audit import texts as audit
from uddm_lib.audit.scores import SCORES, text_scores, token_log_p, token_values
from uddm_lib.audit.text_blocks import blocks_of_text
from uddm_lib.oracles import MarkovGeneralizer, OrdinaryPosterior
from uddm_lib.sampling import generate

PRETRAINED = ROOT / "runs" / "pretrained"


@pytest.fixture(autouse=True)
def fewer_permutations(monkeypatch):
    monkeypatch.setattr(significance, "PERMUTATIONS", 99)


@pytest.fixture(scope="module")
def memorizer():
    return experiments.load_run(PRETRAINED / "kjv-nano-n000016-s1", "cpu")


@pytest.fixture(scope="module")
def generalizer():
    return experiments.load_run(PRETRAINED / "kjv-nano-nall-s1", "cpu")


class Uniform:
    """A model that has learned nothing."""

    vocab_size = 80

    def denoise(self, z_t, sigma):
        return torch.zeros(*z_t.shape, 80)


def decoded(run, blocks):
    return [run.tokenizer.decode(block, skip_special_tokens=True) for block in blocks]


@pytest.fixture(scope="module")
def verses(memorizer):
    return decoded(memorizer, memorizer.train[:16]), decoded(memorizer, memorizer.test[:240])


def test_memorized_texts_are_found(memorizer, verses):
    stored, unseen = verses
    result = audit.audit_texts(
        memorizer.model, memorizer.tokenizer, stored[:8] + unseen[:20], unseen[40:], stored[8:]
    )
    memorized = result.texts["memorized"]
    assert result.verdict == "memorized" and memorized[:8].all() and memorized[8:].sum() <= 2
    assert f"{memorized.sum()} of 28 texts stand out" in result.reasons[-2]
    counts = [len(values) for values in result.log_p]
    assert counts == [*result.texts["tokens"], *result.unseen["tokens"]]
    assert result.log_p[3].mean().item() == pytest.approx(result.texts["best_log_p"][3])
    found = result.detection.set_index("score")
    assert (found.loc[["log_p", "recovery"], "auc"] > 0.99).all() and [*found.index] == [*SCORES]


class Sure:
    """A model that is sure of one block, whatever it reads, and of a wrong BOS and EOS."""

    vocab_size, length = 80, 16

    def __init__(self, block):
        self.logits = 50 * torch.nn.functional.one_hot(block, 80).float()
        self.logits[[0, -1]] = 0
        self.logits[[0, -1], 5] = 50
        self.rows = 0

    def denoise(self, z_t, sigma):
        self.rows += len(z_t)
        return self.logits.expand(len(z_t), -1, -1)


def test_recovery_is_the_share_of_corrupted_tokens_that_come_back(memorizer):
    text = " ".join(["And God said"] * 20)
    blocks, scored = blocks_of_text(text, memorizer.tokenizer, 16)
    known = blocks[0]
    mixed = known.clone()
    mixed[1:8] = (known[1:8] + 1) % 80  # seven of fourteen tokens are others than it is sure of
    for block, least, most in ((known, 1, 1), (mixed, 0.3, 0.7), ((known + 1) % 80, 0, 0)):
        (values,) = token_values(Sure(known), [[block]], [scored[:1]])
        row = text_scores(["x"], [values], [values[0]]).iloc[0]
        assert least <= row["recovery"] <= most and values.shape == (6, 14)
        assert 1 <= values[4].sum() <= 40 and (values[5] <= values[4]).all()  # 11 are expected
    values[4:] = 0  # a short text may have no corrupted token
    assert text_scores(["x"], [values], [values[0]])["recovery"].tolist() == [0]


def test_recovery_costs_no_more_calls_than_the_other_scores(memorizer, verses):
    block = blocks_of_text(verses[0][0], memorizer.tokenizer, 16)[0][0]
    model, scored = Sure(block), torch.ones(16, dtype=torch.bool)
    token_values(model, [[block]] * 3, [[scored]] * 3)
    assert model.rows == 3 * (1 + 16 + 8 * 2)  # prediction, NELBO, and 8 restorations of two calls
    token_log_p(model, [[block]] * 3, [[scored]] * 3)
    assert model.rows == 3 * 34
    document = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    assert "takes 16 of the model's 34 calls for each block, `best_log_p`\ntwo." in document


def test_recovery_is_the_same_whatever_form_the_output_has():
    exact = MarkovGeneralizer(*data.markov_chain())
    x = generate(exact, 60, 16, 20, torch.Generator().manual_seed(1))
    blocks, scored = [[row] for row in x], [[torch.ones(16, dtype=torch.bool)]] * len(x)
    plain, seen = (
        torch.cat(token_values(one, blocks, scored), 1)[4:]
        for one in (exact, OrdinaryPosterior(exact))
    )
    assert torch.equal(plain, seen) and 0.7 < plain[1].sum() / plain[0].sum() < 1


def test_recovery_moves_no_other_score(memorizer, verses, monkeypatch):
    """Also where the blocks take several calls."""
    monkeypatch.setattr(scores, "ENTRIES", 64 * 80 * 3)
    table, _ = audit.scores_of(memorizer.model, memorizer.tokenizer, verses[1][:8])
    monkeypatch.setattr(
        scores, "_restored", lambda _, x, __: torch.zeros(2, *x.shape, dtype=torch.float64)
    )
    other, _ = audit.scores_of(memorizer.model, memorizer.tokenizer, verses[1][:8])
    changed = [name for name in table if not table[name].equals(other[name])]
    assert changed == ["recovery"]


def test_a_bar_shows_the_progress(memorizer, verses, capsys):
    for shown in (False, True):
        audit.scores_of(memorizer.model, memorizer.tokenizer, verses[0][:2], show_progress=shown)
        assert capsys.readouterr().err.count("it/s]\n") == 2 * shown  # one for each cut


def test_a_generalizer_has_memorized_none(generalizer, verses):
    _, unseen = verses
    trained = decoded(generalizer, generalizer.train[:20])
    result = audit.audit_texts(
        generalizer.model, generalizer.tokenizer, trained + unseen[:10], unseen[40:]
    )
    assert result.verdict == "nothing found" and result.detection is None
    assert "one that generalizes treats both alike" in " ".join(result.reasons)


def test_it_abstains(memorizer, verses, monkeypatch):
    stored, unseen = verses
    model, tokenizer = memorizer.model, memorizer.tokenizer
    few = audit.audit_texts(model, tokenizer, stored, unseen[:98])
    assert few.verdict == "cannot say" and "98 unseen texts" in few.reasons[0]
    assert not few.texts["memorized"].any()
    shouted = [text.upper() for text in unseen[:25]]
    other = audit.audit_texts(model, tokenizer, shouted, unseen[40:])
    assert other.verdict == "cannot say" and "differ in kind (p = 0.01)" in other.reasons[0]
    one = audit.audit_texts(model, tokenizer, stored[:1], unseen[40:])
    assert one.verdict == "memorized" and "too few texts to test" in one.reasons[0]


def test_few_unseen_texts_cannot_find_few_memorized_ones(generalizer, verses):
    _, unseen = verses
    result = audit.audit_texts(
        generalizer.model, generalizer.tokenizer, unseen[:120], unseen[120:230], level=0.1
    )
    assert result.verdict == "nothing found"
    assert (
        "110 unseen texts fewer than 11 memorized ones can't be found among 120"
        in (result.reasons[-2])
    )


def test_no_text_is_both_suspected_and_unseen(memorizer, verses):
    _, unseen = verses
    with pytest.raises(ValueError, match="1 of the unseen texts are among the others"):
        audit.audit_texts(memorizer.model, memorizer.tokenizer, unseen[:1], unseen)
    with pytest.raises(ValueError, match=r"level=1 is outside \(0, 1\)"):
        audit.audit_texts(memorizer.model, memorizer.tokenizer, ["a"], ["b"], level=1)


def test_fewer_than_a_hundred_texts_are_said_to_show_less():
    few, many = ([False] * count for count in (99, 100))
    assert "with fewer than 100 texts a difference in kind is missed" in verdict(few)[1][1]
    assert "fewer than 100 texts" not in " ".join(verdict(many)[1] + verdict(few, kind=None)[1])


def verdict(found, together=0.5, blind=0.5, kind=0.5, count=1000):
    return audit._verdict(np.array(found), together, blind, kind, count, 0.1)


def test_verdicts():
    none = [False] * 20
    assert verdict(none)[0] == "nothing found"
    assert verdict([True, *none])[0] == "memorized"
    name, reasons = verdict(none, together=1e-5, blind=1e-3)
    assert name == "known as a set" and "more compressible" in reasons[1]
    assert verdict(none, count=98)[0] == verdict(none, kind=0.01)[0] == "cannot say"


def test_verdicts_on_unseen_texts_are_rarely_wrong():
    """If nothing is memorized, any find is false: in at most a tenth of the audits, here."""
    draws = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        scores, reference = draws.normal(size=30), draws.normal(size=300)
        found = significance.discoveries(
            significance.conformal_p_values(scores, reference), level=0.1
        )
        wrong += verdict(found, significance.set_p_value(scores, reference))[0] != "nothing found"
    assert wrong <= binom.ppf(0.999, 400, 0.11)


def test_blocks_of_a_text(memorizer):
    text = " ".join(["And God said"] * 20)
    blocks, scored = blocks_of_text(text, memorizer.tokenizer, 16)
    ids = memorizer.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert [token for b, m in zip(blocks, scored) for token in b[m].tolist()] == ids
    assert {len(block) for block in blocks[:-1]} == {16} and len(blocks[-1]) <= 16
    ends = memorizer.tokenizer.bos_token_id, memorizer.tokenizer.eos_token_id
    assert all((block[0].item(), block[-1].item()) == ends for block in blocks)


def test_a_text_may_be_cut_after_fewer_tokens(memorizer):
    text = " ".join(["And God said"] * 20)
    whole, _ = blocks_of_text(text, memorizer.tokenizer, 16)
    for first_tokens in (1, 5, 14):
        blocks, scored = blocks_of_text(text, memorizer.tokenizer, 16, first_tokens)
        assert len(blocks[0]) == first_tokens + 2 and {len(b) for b in blocks[1:-1]} == {16}
        both = [torch.cat([b[1:-1] for b in cut]) for cut in (blocks, whole)]
        assert torch.equal(*both) and all(mask.sum() == len(mask) - 2 for mask in scored)
    short, _ = blocks_of_text("And", memorizer.tokenizer, 16, 10)
    assert torch.equal(short[0], blocks_of_text("And", memorizer.tokenizer, 16)[0][0])


def test_scores_are_means_over_tokens(memorizer):
    text = decoded(memorizer, memorizer.train[:1])[0]
    blocks, scored = blocks_of_text(text, memorizer.tokenizer, 16)
    values = token_values(memorizer.model, [blocks], [scored])
    (log_p,) = token_log_p(memorizer.model, [blocks], [scored])
    row = text_scores([text], values, [log_p + 1]).iloc[0]
    assert row["tokens"] == len(log_p) == sum(int(mask.sum()) for mask in scored)
    assert row["log_p"] < 0 and row["entropy"] < 0 and row["loss"] < 0
    assert row["log_p"] == pytest.approx(log_p.mean().item(), rel=1e-5)
    assert row["best_log_p"] == pytest.approx(row["log_p"] + 1)
    first, second = token_values(memorizer.model, [blocks] * 2, [scored] * 2)
    assert first[0].tolist() == pytest.approx(second[0].tolist(), rel=1e-4)
    assert abs((first - second)[3].mean()) < 0.5 * abs(row["loss"])  # the same times


def test_values_are_in_the_order_of_the_tokens(memorizer):
    """Blocks of one length are read together, and the last of a text is shorter."""
    text = decoded(memorizer, memorizer.train[:1])[0]
    blocks, scored = blocks_of_text(text, memorizer.tokenizer, 32)
    (together,) = token_log_p(memorizer.model, [blocks], [scored])
    apart = [token_log_p(memorizer.model, [[b]], [[m]])[0] for b, m in zip(blocks, scored)]
    assert len({len(block) for block in blocks}) == 2
    assert together.tolist() == pytest.approx(torch.cat(apart).tolist(), rel=1e-3, abs=1e-5)


def test_texts_cut_half_a_block_later_are_found_by_the_second_cut(memorizer, verses):
    """Half of each text was trained on, as docs/audit.md says."""
    train = data.load_corpus("kjv", 64, 80).train
    stream = train[:, 1:-1].flatten()
    starts = [62 * int((train == block).all(1).nonzero()[0, 0]) for block in memorizer.train]
    texts = decoded(memorizer, [stream[start + 31 : start + 93] for start in starts])
    unseen = verses[1][:120]
    table, _ = audit.scores_of(memorizer.model, memorizer.tokenizer, texts + unseen)
    kinds = [1] * 16 + [0] * 120
    assert (table["best_log_p"] >= table["log_p"]).all()
    few, _ = audit.scores_of(memorizer.model, memorizer.tokenizer, unseen[:2] + texts[:2])
    same = [*table["best_log_p"][16:18], *table["best_log_p"][:2]]
    assert few["best_log_p"].tolist() == pytest.approx(same, rel=1e-3)  # in whichever file it is
    assert roc_auc_score(kinds, table["log_p"]) < 0.8
    assert roc_auc_score(kinds, table["best_log_p"]) > 0.95
    p_values = significance.conformal_p_values(
        table["best_log_p"][:16].to_numpy(), table["best_log_p"][16:].to_numpy()
    )
    assert significance.discoveries(p_values, 0.1).sum() >= 14


def test_blocks_go_to_the_device_of_the_denoiser(memorizer, verses, monkeypatch):
    def asked(denoiser, z_t, sigma):
        raise NotImplementedError(f"{z_t.device}, {sigma.device}")

    class Elsewhere(Uniform):
        device = torch.device("meta")

    blocks, scored = blocks_of_text(verses[0][0], memorizer.tokenizer, 16)
    monkeypatch.setattr(scores, "leave_one_out", asked)
    for denoiser, where in ((Elsewhere(), "meta"), (Uniform(), "cpu"), (memorizer.model, "cpu")):
        with pytest.raises(NotImplementedError, match=f"{where}, {where}"):
            scores.token_log_p(denoiser, [blocks], [scored])


def test_the_command(tmp_path, memorizer, verses, capsys):
    stored, unseen = verses
    for name, texts in {"texts": stored[:3], "unseen": unseen[:100], "members": stored[3:]}.items():
        (tmp_path / name).write_text("\n".join(text.replace("\n", " ") for text in texts))
    model = str(PRETRAINED / "kjv-nano-n000016-s1" / "model")
    files = ["--texts", str(tmp_path / "texts"), "--unseen", str(tmp_path / "unseen")]
    more = ["--members", str(tmp_path / "members"), "--json", str(tmp_path / "out.json")]
    more += ["--training", str(tmp_path / "members"), "--html", str(tmp_path / "out.html")]
    assert main(["audit", model, *files, *more, "--device", "cpu"]) == 4
    out = capsys.readouterr().out
    assert "verdict: memorized" in out and "3 texts, 100 unseen" in out
    assert max(len(line) for line in out.splitlines() if " [" in line) <= 100
    assert re.search(r"\n +recovery 1\.00 \[\S+, 1\.00\] +0\.\d\d \[\S+, \S+\] +too few", out)
    content = json.loads((tmp_path / "out.json").read_text())
    assert [row["memorized"] for row in content["texts"]] == [True] * 3
    assert content["facts"]["output"] == "leave-one-out" and len(content["unseen"]) == 100
    overlaps = [row["overlap"] for row in content["texts"]]
    blind = content["detection"][-1]
    assert blind["score"] == "blind" and blind["over_blind"] == 0 and blind["tpr_1"] is None
    assert max(overlaps) < 0.5 and f"overlap of 3 from {min(overlaps):.0%} to" in out
    page = (tmp_path / "out.html").read_text()
    assert page.count("nearest in the training text, overlap ") == 3
    assert "<td>score</td><td>auc</td><td>over_blind</td>" in page
    generalizer = str(PRETRAINED / "kjv-nano-nall-s1" / "model")
    assert main(["audit", generalizer, *files]) == 0
    assert main(["audit", model, "--texts", files[3], "--unseen", files[1]]) == 3
    assert "3 unseen texts" in capsys.readouterr().out


def test_errors(tmp_path, memorizer, capsys):
    (tmp_path / "one").write_text("And God said\n")
    (tmp_path / "none").write_text("\n")
    model = str(PRETRAINED / "kjv-nano-n000016-s1" / "model")
    for texts, message in {"none": "texts holds no text", "nowhere": "neither a file nor"}.items():
        line = error_line(
            capsys, "audit", model, "--texts", tmp_path / texts, "--unseen", tmp_path / "one"
        )
        assert message in line
    for name, message in {"none": "holds no text", "nowhere": "neither a file nor"}.items():
        line = error_line(capsys, "audit", model, "--training", tmp_path / name)
        assert message in line
    line = error_line(capsys, "audit", model, "--device", "mps")
    assert "device='mps' is not allowed: float64 is needed, which it lacks" in line
    small = checkpoints.load(model)
    small.config.vocab_size = 60  # its tokenizer has more
    with pytest.raises(ValueError, match="the tokenizer has 80 tokens, more than the model's 60"):
        audit.audit_texts(small, memorizer.tokenizer, ["a"], ["b"])
