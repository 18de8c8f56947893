"""Public checkpoints of other families: the same logits, and faults named."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import family_files as files
from helpers.command_line import error_line
from helpers.paths import FAMILIES
from uddm_lib import checkpoints, denoiser, sampling
from uddm_lib.__main__ import main
from uddm_lib.audit.regime import audit_regime
from uddm_lib.diffusion import HybridNoise

REFERENCES = [
    "udlm-lm1b",
    "udlm-lm1b-untimed",
    "udlm-qm9",
    "duo",
    "gidd-p_unif-0.2",
    "gidd-p_unif-0.0",
]


def reference(name):
    if not (FAMILIES / name).is_dir():
        pytest.skip(f"the reference vectors of {name} are not on this machine")
    return FAMILIES / name / "checkpoint", load_file(FAMILIES / name / "vectors.safetensors")


def found(model, tokens, level):
    with torch.no_grad():
        return model.denoise(tokens, level)


# reference vectors ---------------------------------------------------------------


@pytest.mark.parametrize("name", REFERENCES)
def test_logits_are_those_of_the_family(worst, name):
    folder, vectors = reference(name)
    model = checkpoints.load(folder)
    level = vectors["t" if model.facts.level == "t" else "sigma"]
    expected = vectors.get("logits", vectors.get("logits_unconditional"))
    difference = (found(model, vectors["tokens"], level) - expected).abs().max()
    worst(f"{name}, logits", "their class", difference, 2e-5)
    if (short := vectors.get("logits_short")) is not None:
        rows, length, _ = short.shape
        logits = found(model, vectors["tokens"][:rows, :length], level[:rows])
        worst(f"{name}, logits, short", "their class", (logits - short).abs().max(), 2e-5)


def test_a_soft_input_of_duo(worst):
    folder, vectors = reference("duo")
    model, soft = checkpoints.load(folder), vectors["soft_input"].softmax(-1)
    tokens = torch.arange(model.vocab_size).expand_as(soft)
    with torch.no_grad():
        logits = model(tokens[..., 0], vectors["sigma"][2:4], (tokens, soft)).logits
    worst("duo, soft input", "their class", (logits - vectors["logits_soft"]).abs().max(), 2e-5)


@pytest.mark.parametrize("name", ["gidd-p_unif-0.2", "gidd-p_unif-0.0"])
def test_noise_and_reverse_step_of_gidd(worst, name):
    folder, vectors = reference(name)
    model = checkpoints.load(folder)
    noise = HybridNoise(model.facts.p_uniform, model.vocab_size, model.facts.mask_id)
    times = vectors["schedule.t"]
    for what, ours in {"alpha_f64": noise.alpha(times), "beta_pi_f64": noise.noise(times)}.items():
        difference = (ours - vectors[f"schedule.{what}"]).abs().max()
        worst(f"{name}, {what}", "closed form", difference, 1e-12)
    assert model.facts.least_t == 1e-4
    if model.facts.p_uniform:  # docs/other-models.md
        assert f"{noise.like_uniform(0.1):.3f}" == "0.027"
    for (t, s), expected in zip(vectors["step.ts"].tolist(), vectors["step.probs"]):
        logits = found(model, vectors["step.tokens"], t)
        logits[..., model.facts.mask_id] = -1e6
        law = noise.posterior(logits.softmax(-1), vectors["step.tokens"], s, t)
        worst(f"{name}, reverse step", "their sampler", (law - expected).abs().max(), 1e-6)


def test_logits_of_diffusion_gemma(worst):
    folder, vectors = reference("diffusiongemma")
    model, canvas = checkpoints.load(folder), vectors["canvas"]
    for rows in (2, 2, 1):  # again, with what it keeps of the prompt; another number of sequences
        difference = found(model, canvas[:rows], 0.1) - vectors["logits_bos_only"][:rows]
        worst("DiffusionGemma, logits", "their class", difference.abs().max(), 2e-5)
    assert model.facts.output == "denoiser" and model.facts.level == "none"
    assert model.dtype == torch.float32
    assert (model.vocab_size, model.length, model.facts.softcap) == (40, 8, 30)


def test_the_softcap_of_diffusion_gemma_forbids_tiny_times():
    folder, vectors = reference("diffusiongemma")
    model = checkpoints.load(folder)
    with pytest.raises(ValueError, match="under a softcap of 30; use t of at least 0.05"):
        denoiser.leave_one_out(model, vectors["canvas"], 1e-5)
    law = denoiser.leave_one_out(model, vectors["canvas"], 0.1).exp()
    assert torch.allclose(law.sum(-1), torch.ones(2, 8, dtype=torch.float64))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"a": "pytorch_model.bin"}, "names pytorch_model.bin; allowed are"),
        ({"a": "../../secret.safetensors"}, "names ../../secret.safetensors; allowed are"),
        (3, "index.json is damaged"),
    ],
)
def test_an_index_of_diffusion_gemma_names_safetensors_alone(tmp_path, index, message):
    folder = shutil.copytree(reference("diffusiongemma")[0], tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with pytest.raises(ValueError, match=message):
        checkpoints.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"canvas_length": "x"}, "can't be read as a DiffusionGemma"),
        ({"text_config": [1]}, "can't be read as a DiffusionGemma"),
        ({"bos_token_id": 99}, "bos_token_id=99 is not an integer from 0 to 39"),
        ({"quantization_config": {}}, "quantization_config is not allowed"),
    ],
)
def test_configurations_of_diffusion_gemma(tmp_path, change, message):
    folder = shutil.copytree(reference("diffusiongemma")[0], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    if "bos_token_id" in change:
        config["text_config"] |= change
    else:
        config |= change
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message) as caught:
        checkpoints.load(folder)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="of type 'diffusion_gemma'; allowed are uddm, udlm"):
        checkpoints.load_uddm(folder)


def test_diffusion_gemma_says_where_it_is():
    model = checkpoints.load(reference("diffusiongemma")[0])
    assert model.device == torch.device("cpu")
    assert model.to("meta").device == torch.device("meta")
    assert checkpoints.load(reference("diffusiongemma")[0], "meta").device == torch.device("meta")


def test_diffusion_gemma_generates():
    """A step is that of its own law, however small t is."""
    model = checkpoints.load(reference("diffusiongemma")[0])
    generator = torch.Generator().manual_seed(1)
    assert sampling.generate(model, 3, 8, steps=5, generator=generator).shape == (3, 8)


@pytest.mark.parametrize("key", ["missing", "unknown", "misshapen", "truncated"])
def test_damaged_diffusion_gemma(tmp_path, key):
    source, _ = reference("diffusiongemma")
    folder = shutil.copytree(source, tmp_path / "model")
    path, name = folder / "model.safetensors", "model.decoder.layers.0.self_attn.q_proj.weight"
    state = load_file(path)
    if key == "missing":
        del state[name]
    elif key == "unknown":
        state["model.decoder.more"] = torch.ones(2)
    else:
        state[name] = torch.ones(3, 3)
    save_file(state, path, {"format": "pt"})
    if key == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    message = {
        "missing": f"missing keys: {name}",
        "unknown": "unexpected keys: model.decoder.more",
        "misshapen": "mismatched keys: .*q_proj",
        "truncated": "can't be read as a DiffusionGemma",
    }
    with pytest.raises(ValueError, match=message[key]) as caught:
        checkpoints.load(folder)
    assert str(folder) in str(caught.value)


# files of our own making ---------------------------------------------------------


@pytest.mark.parametrize("family", files.CONFIGS)
def test_a_network_comes_back(tmp_path, family):
    network = files.network()
    model = checkpoints.load(files.write(tmp_path / "m", family, files.weights(family, network)))
    level = torch.tensor([0.1, 0.5])
    assert torch.equal(found(model, files.TOKENS, level), found(network, files.TOKENS, level))
    assert not model.training and model.facts.family == family
    assert model.facts.output == ("approximate" if family == "gidd" else "leave-one-out")
    assert model.facts.level == ("t" if family == "gidd" else "sigma")
    assert model.facts.mask_id == (10 if family == "gidd" else None)


@pytest.mark.parametrize("family", files.CONFIGS)
def test_convert_keeps_the_network_and_its_facts(tmp_path, family, capsys):
    source = files.write(tmp_path / "m", family, files.weights(family, files.network()))
    assert main(["convert", str(source), str(tmp_path / "ours")]) == 0
    assert f"{source} ({family})" in capsys.readouterr().out
    ours, theirs = checkpoints.load(tmp_path / "ours"), checkpoints.load(source)
    assert ours.facts == theirs.facts
    assert torch.equal(found(ours, files.TOKENS, 0.3), found(theirs, files.TOKENS, 0.3))
    line = error_line(capsys, "convert", source, tmp_path / "new", "--weights", "raw")
    assert "--weights is for .ckpt files" in line


def test_a_network_that_is_not_told_the_noise(tmp_path):
    state = files.weights("udlm", files.network())
    folder = files.write(tmp_path / "m", "udlm", state, time_conditioning=False)
    model, timed = checkpoints.load(folder), files.network()
    assert model.facts.level == "none"
    logits = [found(model, files.TOKENS, sigma) for sigma in (0.1, 2.0)]
    assert torch.equal(*logits) and torch.equal(logits[0], found(timed, files.TOKENS, 0.0))
    checkpoints.save(tmp_path / "ours", model)
    assert checkpoints.load(tmp_path / "ours").facts == model.facts


TABLE = "backbone.cond_map.embedding_table.weight"


def test_classes_go_into_the_biases(tmp_path):
    network = files.network()
    classes = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    state = {**files.weights("udlm", network), TABLE: classes}
    folder = files.write(tmp_path / "m", "udlm", state, cfg=True, cfg_num_classes=3)
    shift = torch.nn.functional.silu(classes[-1])
    with torch.no_grad():
        for layer in (network.modulation, *(block.modulation for block in network.blocks)):
            layer.bias += layer.weight @ shift
    model = checkpoints.load(folder)
    assert torch.equal(found(model, files.TOKENS, 0.3), found(network, files.TOKENS, 0.3))


# faults --------------------------------------------------------------------------

WEIGHT = "blocks.1.attn_out.weight"
FAULTS = {
    "missing": ("udlm", {f"backbone.{WEIGHT}": None}, {}, f"missing weights: {WEIGHT}"),
    "unknown": ("udlm", {"backbone.more": torch.ones(1)}, {}, "unknown weights: more"),
    "prefix": ("duo", {WEIGHT: torch.ones(16, 16)}, {}, f"unknown weights: {WEIGHT}"),
    "shape": (
        "duo",
        {f"backbone.{WEIGHT}": torch.ones(16, 15)},
        {},
        r"attn_out.weight has the shape \(16, 15\), expected \(16, 16\)",
    ),
    "integers": (
        "gidd",
        {WEIGHT: torch.ones(16, 16, dtype=torch.int32)},
        {},
        "holds torch.int32, not floating-point numbers",
    ),
    "no embedding": (
        "gidd",
        {"vocab_embed.embedding": None},
        {},
        "missing weights: vocab_embed.embedding",
    ),
    "width": ("udlm", {}, {"hidden_dim": 32}, "says hidden_dim=32, the weights say 16"),
    "vocabulary": ("duo", {}, {"vocab_size": 12}, "says vocab_size=12, the weights say 11"),
    "blocks": ("gidd", {}, {"num_hidden_layers": 3}, "says num_hidden_layers=3, the weights say 2"),
    "heads": (
        "udlm",
        {},
        {"n_heads": 2},
        "n_heads=2 by config.json, but n_heads=4 by rotary_emb.inv_freq",
    ),
    "tables": (
        "gidd",
        {},
        {"num_attention_heads": 2},
        "n_heads=4 by rotary_emb.cos_cached, .* but n_heads=2 by config.json",
    ),
    "long tables": ("gidd", {}, {"max_seq_len": 9}, "cos_cached .* does not fit max_seq_len=9"),
    "no heads": (
        "duo",
        {"backbone.rotary_emb.inv_freq": None},
        {"n_heads": None},
        "config.json lacks n_heads, which no weight tells",
    ),
    "not finite": (
        "duo",
        {f"backbone.{WEIGHT}": torch.full((16, 16), torch.nan)},
        {},
        "attn_out.weight holds numbers that are not finite",
    ),
    "many blocks": (
        "duo",
        {f"backbone.blocks.{i}.x": torch.ones(1) for i in range(2, 20_000)},
        {"n_blocks": 20_000},
        "missing weights: blocks.2.mlp.0.weight",
    ),
    "long value": ("duo", {}, {"n_heads": "4" * 10**5}, r"n_heads='4{80,90}; it must be"),
    "type of the type": ("duo", {}, {"model_type": [1]}, r"of type \[1\]; allowed are uddm"),
    "text": ("udlm", {}, {"n_heads": "4"}, "n_heads='4'; it must be a positive integer"),
    "no length": ("duo", {}, {"model_length": None}, "model_length=None; it must be a positive"),
    "switch": ("udlm", {}, {"time_conditioning": None}, "time_conditioning=None; it must be true"),
    "causal": ("duo", {}, {"causal": True}, "causal=true, which is another network"),
    "distilled": ("duo", {}, {"_name_or_path": "s-sahoo/duo-distilled"}, "it is duo-distilled"),
    "no classes": ("udlm", {}, {"cfg": True}, "says cfg=True, but the weights have no table"),
    "classes": ("udlm", {TABLE: torch.ones(3, 8)}, {}, "says cfg=False, but the weights have a"),
    "class": (
        "udlm",
        {TABLE: torch.ones(3, 8)},
        {"cfg": True, "cfg_num_classes": 3},
        r"\(3, 8\); cfg_num_classes=3 asks for \(4, 8\)",
    ),
    "share": ("gidd", {}, {"p_uniform": 1.5}, r"p_uniform=1.5; allowed are numbers in \[0, 1\)"),
    "times": ("gidd", {}, {"t_eps": 0.5}, "t_eps=0.5; allowed are numbers between 0 and 1/2"),
    "another dit": ("gidd", {}, {"p_uniform": None}, "of type 'dit'; allowed are uddm"),
    "another family": ("duo", {}, {"model_type": "bert"}, "of type 'bert'; allowed are uddm"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path, fault):
    family, tensors, changes, message = FAULTS[fault]
    state = {**files.weights(family, files.network()), **tensors}
    state = {name: tensor for name, tensor in state.items() if tensor is not None}
    folder = files.write(tmp_path / "m", family, state, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        checkpoints.load(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_widths_of_duo_are_those_of_the_weights(tmp_path):
    """Its class has a default that no public model has."""
    state = files.weights("duo", files.network())
    model = checkpoints.load(files.write(tmp_path / "m", "duo", state, cond_dim=129))
    assert model.config.cond_dim == 8


def test_distilled_models_are_known_by_the_hubs_folder(tmp_path):
    state, cache = files.weights("duo", files.network()), "models--s-sahoo--Duo-Distilled"
    folder = files.write(tmp_path / cache / "snapshots" / "3f2a", "duo", state)
    with pytest.raises(ValueError, match="it is duo-distilled"):
        checkpoints.load(folder)
    other = tmp_path / "not-distilled" / "duo"
    checkpoints.load(files.write(other, "duo", state))


def test_a_loaded_model_does_not_depend_on_its_file(tmp_path):
    """A map of the file would change, or end the process, when the file does."""
    for family in files.CONFIGS:
        folder = files.write(tmp_path / family, family, files.weights(family, files.network()))
        model = checkpoints.load(folder)
        checkpoints.save(tmp_path / f"{family}-ours", model)
        ours = checkpoints.load(tmp_path / f"{family}-ours")
        logits = found(model, files.TOKENS, 0.3)
        for path in (folder, tmp_path / f"{family}-ours"):
            with open(path / "model.safetensors", "r+b") as file:
                file.truncate(100)
        assert torch.equal(found(model, files.TOKENS, 0.3), logits)
        assert torch.equal(found(ours, files.TOKENS, 0.3), logits)


def test_parts_and_places(tmp_path, monkeypatch):
    folder = files.write(tmp_path / "m", "duo", files.weights("duo", files.network()))
    with pytest.raises(ValueError, match="is a part of a checkpoint; give its folder"):
        checkpoints.load(folder / "model.safetensors")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        checkpoints.load(tmp_path / "nowhere")
    monkeypatch.chdir(folder)
    assert checkpoints.load(".").facts.family == "duo"


@pytest.mark.parametrize(
    "change",
    [
        {"attn_implementation": "someone/evil-kernel"},
        {"dtype": "float99"},
        {"num_labels": "1"},
        {"facts": [1, 2]},
        {"facts": {"mask_id": 99, "p_uniform": 0.2, "level": "t"}},
        {"facts": {"softcap": -1}},
        {"dropout": "a"},
        {"hidden_size": 10**9},
        {"length": "6"},
    ],
)
def test_our_configuration_is_read_for_its_own_options(tmp_path, change):
    """What transformers would do with the others is nothing that a checkpoint may ask for."""
    checkpoints.save(tmp_path / "m", files.network())
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    if change.keys() & {"attn_implementation", "dtype", "num_labels"}:
        assert found(checkpoints.load(tmp_path / "m"), files.TOKENS, 0.1).dtype == torch.float32
    else:
        with pytest.raises(ValueError, match=str(tmp_path / "m")):
            checkpoints.load(tmp_path / "m")


def test_damaged_files(tmp_path):
    state = files.weights("duo", files.network())
    folder = files.write(tmp_path / "m", "duo", state)
    whole = (folder / "model.safetensors").read_bytes()
    for cut in (0, 5, 60, len(whole) // 2, len(whole) - 1):
        (folder / "model.safetensors").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="model.safetensors is damaged"):
            checkpoints.load(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(FileNotFoundError, match="model.safetensors is missing"):
        checkpoints.load(folder)
    for text in ("{", "[1]", "3", "[" * 200_000):
        (folder / "config.json").write_text(text)
        with pytest.raises(ValueError, match="is not a model's configuration"):
            checkpoints.load(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: files.write_tokenizer(folder, None), "has no mask token"),
        (lambda folder: files.write_tokenizer(folder, "[MASK]"), "mask is 11, outside of the 11"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer can't be read"),
    ],
)
def test_the_mask_of_gidd_is_the_tokenizers(tmp_path, damage, message):
    folder = files.write(tmp_path / "m", "gidd", files.weights("gidd", files.network()))
    damage(folder)
    with pytest.raises(ValueError, match=message):
        checkpoints.load(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match="tokenizer.json is missing"):
        checkpoints.load(folder)


def test_a_gidd_model_is_audited(tmp_path):
    state = files.weights("gidd", files.network())
    model = checkpoints.load(files.write(tmp_path / "gidd", "gidd", state))
    audit = audit_regime(model, 64)
    assert audit.verdict and (audit.generated.tokens != model.facts.mask_id).all()
    assert audit.generated.nelbo.isfinite().all() and (audit.generated.nelbo > 0).all()


def test_what_a_family_says_of_itself(tmp_path):
    state = files.weights("udlm", files.network())
    public = {"_name_or_path": "kuleshov-group/udlm-lm1b"}
    model = checkpoints.load(files.write(tmp_path / "udlm", "udlm", state, **public))
    assert "padding" in model.facts.untrained
    state = files.weights("gidd", files.network())
    model = checkpoints.load(files.write(tmp_path / "gidd", "gidd", state, p_uniform=0.0))
    assert "no masks" in model.facts.untrained and model.facts.noise == "hybrid"
    config = json.loads((tmp_path / "gidd" / "config.json").read_text())
    assert "facts" not in config  # nothing is written into the folder that is read
