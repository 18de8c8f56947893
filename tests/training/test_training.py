import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.training_runs import around_update, before_step, weights
from uddm_lib import checkpoints, devices, training
from uddm_lib.checkpoints import load
from uddm_lib.denoiser import leave_one_out
from uddm_lib.memory_probes import dependence_on_tokens
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.schedule import LogLinearSchedule, duality_alpha
from uddm_lib.training import TrainingLoop, TrainingOptions, batches, train
from uddm_lib.training.batches import batch_indices, sample_times
from uddm_lib.training.muon import Muon
from uddm_lib.training.objective import Objective

CONFIG = UDDMConfig.named("pico", vocab_size=6, length=4, dropout=0.1)
BLOCKS = torch.tensor([[0, 1, 2, 3], [3, 4, 5, 0], [1, 1, 4, 4]])
OPTIONS = dict(
    steps=12,
    batch_size=8,
    learning_rate=3e-3,
    warmup_steps=2,
    ema_decay=0.9,
    log_every=2,
    checkpoint_every=4,
)


def run(folder, **changes):
    return train(folder, BLOCKS, BLOCKS, CONFIG, TrainingOptions(**(OPTIONS | changes)))


def test_training_memorizes_three_sequences(tmp_path):
    config = UDDMConfig.named("nano", vocab_size=6, length=4, dropout=0.0, adaln_zero=False)
    options = TrainingOptions(
        **OPTIONS | dict(steps=600, batch_size=32, log_every=150, checkpoint_every=300)
    )
    result = train(tmp_path / "run", BLOCKS, BLOCKS, config, options)
    assert result.log["step"].tolist() == [150, 300, 450, 600]
    assert result.log["loss"].min() < 0.6 * result.log["loss"].iloc[0]
    corrupted = torch.tensor([[0, 1, 2, 5], [3, 0, 5, 0], [2, 1, 4, 4]])
    restored = result.model.denoise(corrupted, 0.2).argmax(-1)
    assert torch.equal(restored, BLOCKS)
    assert torch.equal(weights(result.model), weights(load(tmp_path / "run" / "model")))
    assert not list((tmp_path / "run").glob("*state-*"))


def test_cross_entropy_trains_a_denoiser_that_probes_convert(tmp_path):
    """Where the corpus leaves no doubt, both objectives end in the same leave-one-out law."""
    config = UDDMConfig.named("nano", vocab_size=6, length=4, dropout=0.0, adaln_zero=False)
    options = TrainingOptions(
        **OPTIONS | dict(steps=1200, batch_size=32, log_every=300, checkpoint_every=600),
        objective="cross_entropy",
    )
    train(tmp_path / "run", BLOCKS, BLOCKS, config, options)
    model = load(tmp_path / "run" / "model")
    assert model.facts.output == "denoiser" and config.facts == {}
    moved = dependence_on_tokens(model, BLOCKS.repeat(20, 1), [0.3])
    assert moved["own"].mean() > 0.1
    for t in (0.05, 0.3):
        law = leave_one_out(model, BLOCKS, LogLinearSchedule().sigma(t)).exp()
        assert law.gather(-1, BLOCKS[..., None]).mean() > 0.8
    with pytest.raises(ValueError, match="use t of at least 0.05"):
        leave_one_out(model, BLOCKS, LogLinearSchedule().sigma(0.049))
    with pytest.raises(ValueError, match="objective"):
        train(tmp_path / "run", BLOCKS, BLOCKS, config, replace(options, objective="nelbo"))


def test_cross_entropy_is_torchs():
    z_t, scale = BLOCKS.flip(0), torch.full((3,), 1 / 12, dtype=torch.float64)
    config = UDDMConfig.named("pico", vocab_size=6, length=4, facts={"output": "denoiser"})
    model, alpha = UDDM(config).eval(), torch.full((3,), 0.4, dtype=torch.float64)
    torch.nn.init.normal_(model.head.weight)
    loss = Objective(model)(z_t, BLOCKS, alpha, -torch.ones(3), scale, None)
    logits = model.denoise(z_t, -alpha.log())
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), BLOCKS.flatten())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_network_that_is_not_told_the_noise_trains(tmp_path):
    config = UDDMConfig.named("pico", vocab_size=6, length=4, time_conditioning=False)
    model = train(tmp_path / "run", BLOCKS, BLOCKS, config, TrainingOptions(**OPTIONS)).model
    assert torch.equal(model.denoise(BLOCKS, 0.1), model.denoise(BLOCKS, 3.0))
    assert model.facts.level == "none"
    with pytest.raises(ValueError, match="time_conditioning"):
        train(tmp_path / "run", BLOCKS, BLOCKS, CONFIG, TrainingOptions(**OPTIONS))


def test_runs_of_earlier_versions_lack_later_choices():
    """Else a finished run would not be recognized."""
    known = training.identity(BLOCKS, CONFIG, TrainingOptions())
    assert "objective" not in known and "time_conditioning" not in known
    other = training.identity(BLOCKS, CONFIG, TrainingOptions(objective="cross_entropy"))
    assert other == known | {"objective": "cross_entropy"}


@pytest.mark.parametrize(
    "dropout, choice",
    [
        (0.0, {}),
        (0.1, {}),
        (0.0, {"curriculum": "gaussian", "curriculum_steps": 10}),
        (0.0, {"optimizer": "muon"}),
    ],
)
def test_a_killed_run_resumes_to_the_same_end(tmp_path, monkeypatch, dropout, choice):
    config = UDDMConfig.named("pico", vocab_size=6, length=4, dropout=dropout)
    options = TrainingOptions(**OPTIONS, **choice)
    whole = train(tmp_path / "whole", BLOCKS, BLOCKS, config, options)

    def dies(step):
        if step == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        before_step(patch, dies)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", BLOCKS, BLOCKS, config, options)
    steps = []
    before_step(monkeypatch, steps.append)
    resumed = train(tmp_path / "killed", BLOCKS, BLOCKS, config, options)
    assert steps == [8, 9, 10, 11]
    assert torch.equal(weights(resumed.model), weights(whole.model))
    columns = ["step", "loss", "learning_rate", "validation_nelbo"]
    assert resumed.log[columns].equals(whole.log[columns])


def test_the_gaussian_curriculum_sees_soft_inputs_and_then_tokens(tmp_path, monkeypatch):
    seen, hidden = [], UDDM.hidden

    def spy(self, z_t, sigma, mixture=None):
        if self.training:
            seen.append((mixture, sigma))
        return hidden(self, z_t, sigma, mixture)

    monkeypatch.setattr(UDDM, "hidden", spy)
    run(tmp_path / "run", curriculum="gaussian", curriculum_steps=9)
    assert [mixture is not None for mixture, _ in seen] == [True] * 9 + [False] * 3
    (tokens, shares), sigma = seen[0]
    assert tokens.shape == shares.shape == (8, 4, 6) and shares.sum(-1).allclose(
        torch.ones((), dtype=torch.float64)
    )
    ends = -duality_alpha(torch.tensor([-3.5, -1.75]), 6).log()
    assert ends[0] <= sigma.min() and sigma.max() <= ends[1] and (sigma.diff() > 0).all()


def test_the_gaussian_curriculum_memorizes_too(tmp_path):
    config = UDDMConfig.named("nano", vocab_size=6, length=4, dropout=0.0, adaln_zero=False)
    options = TrainingOptions(
        **OPTIONS | dict(steps=800, batch_size=32, log_every=100, checkpoint_every=200),
        curriculum="gaussian",
        curriculum_steps=200,
    )
    result = train(tmp_path / "run", BLOCKS, BLOCKS, config, options)
    corrupted = torch.tensor([[0, 1, 2, 5], [3, 0, 5, 0], [2, 1, 4, 4]])
    assert torch.equal(result.model.denoise(corrupted, 0.2).argmax(-1), BLOCKS)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_training_leaves_the_global_random_state_alone(tmp_path, dropout):
    config = UDDMConfig.named("pico", vocab_size=6, length=4, dropout=dropout)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    train(tmp_path / "run", BLOCKS, BLOCKS, config, TrainingOptions(**OPTIONS))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_finished_run_is_read_not_repeated(tmp_path, monkeypatch):
    first = run(tmp_path / "run")
    monkeypatch.setattr(TrainingLoop, "update", None)
    again = run(tmp_path / "run")
    assert torch.equal(weights(first.model), weights(again.model)) and again.log.equals(first.log)


def test_other_parameters_do_not_mix(tmp_path):
    run(tmp_path / "run")
    with pytest.raises(ValueError, match="learning_rate"):
        run(tmp_path / "run", learning_rate=1e-3)


def test_more_steps_are_another_training(tmp_path):
    run(tmp_path / "run", steps=2)
    message = "steps 2 there, 4 requested. Choose another folder.* Another number of steps is"
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "run", steps=4)


@pytest.mark.parametrize("recorded", [{}, {"compile": True, "checkpoint_every": 7}])
def test_choices_for_the_machine_may_change(tmp_path, monkeypatch, recorded):
    """Earlier versions recorded some of them."""

    def stops(step):
        if step == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        before_step(patch, stops)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", steps=2)
    file = tmp_path / "run" / "run.json"
    content = json.loads(file.read_text())
    assert not {"compile", "checkpoint_every", "micro_batch"} & content["parameters"].keys()
    content["parameters"] |= recorded
    file.write_text(json.dumps(content))
    monkeypatch.setattr(torch, "compile", lambda function: function)
    changed = run(tmp_path / "run", steps=2, compile=True, checkpoint_every=1, micro_batch=3)
    assert changed.log.attrs["provenance"]["parameters"]["compile"] is True
    assert run(tmp_path / "run", steps=2).log.equals(changed.log)


def test_an_infinite_loss_stops_and_keeps_the_checkpoint(tmp_path, monkeypatch):
    around_update(monkeypatch, lambda loop, step, update: update() * (math.inf if step == 6 else 1))
    message = "became inf by step 8: lower learning_rate=0.003; .*state-000000004.safetensors"
    with pytest.raises(FloatingPointError, match=message):
        run(tmp_path / "run")
    assert (tmp_path / "run" / "state-000000004.safetensors").is_file()
    monkeypatch.undo()
    assert run(tmp_path / "run").log["step"].iloc[-1] == 12


def test_weights_that_break_at_the_last_step_are_not_saved(tmp_path, monkeypatch):
    def breaks(loop, step, update):
        loss = update()
        if step == 11:
            loop.state.average.head.bias.data.fill_(math.nan)
        return loss

    around_update(monkeypatch, breaks)
    with pytest.raises(FloatingPointError, match="loss became nan by step 12"):
        run(tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()


def test_checkpoints_are_made_with_the_next_row_of_the_log(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        checkpoints,
        "save_step",
        lambda folder, step, tensors, about: made.append((step, about["rows"][-1]["step"])),
    )
    run(tmp_path / "run", log_every=2, checkpoint_every=3)
    assert made == [(4, 4), (8, 8)]


def test_without_a_compiler_training_is_eager_and_says_so(tmp_path, monkeypatch, capsys):
    def missing(*_, **__):
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", missing)
    assert run(tmp_path / "run", compile=True).log["step"].iloc[-1] == 12
    assert "No working C++ compiler found): training eagerly" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what the compiler imports
def test_a_compiled_run_is_the_eager_one(tmp_path, unchecked):  # a compiler would trace the checks
    if devices.compiled(torch.sin, torch.device("cpu")) is torch.sin:
        pytest.skip("no working compiler here")
    config = UDDMConfig.named("pico", vocab_size=6, length=4, dropout=0.0)
    runs = [
        train(
            tmp_path / str(compile),
            BLOCKS,
            BLOCKS,
            config,
            TrainingOptions(**OPTIONS, compile=compile),
        )
        for compile in (False, True)
    ]
    assert runs[1].log["loss"].tolist() == pytest.approx(runs[0].log["loss"].tolist(), rel=1e-5)
    torch.testing.assert_close(weights(runs[1].model), weights(runs[0].model), rtol=1e-3, atol=1e-5)


def test_bfloat16_trains_too(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "has_fast_bf16", lambda device: True)
    result = run(tmp_path / "run", precision="bf16")
    assert result.log.attrs["provenance"]["parameters"]["computed_in"] == "bf16"
    assert (
        result.log["loss"].notna().all() and next(result.model.parameters()).dtype == torch.float32
    )
    assert not torch.equal(weights(result.model), weights(run(tmp_path / "fp32").model))


def test_the_log_holds_the_share_of_the_measured_matrix_product_rate(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "matmul_rate", lambda device, dtype: 3e9)
    result = run(tmp_path / "run")
    per_token = 3 * result.model.config.forward_flops
    assert result.log["mfu"].tolist() == pytest.approx(
        (result.log["tokens_per_second"] * per_token / 3e9).tolist()
    )
    assert (
        f"float32: at most {3e9 / per_token:,.0f} tokens/s for this model"
        in capsys.readouterr().out
    )


def test_where_bfloat16_is_slow_training_stays_in_float32_and_says_so(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    devices.has_fast_bf16.cache_clear()
    result = run(tmp_path / "run", precision="bf16")
    devices.has_fast_bf16.cache_clear()
    assert "this cpu device has no fast bfloat16" in capsys.readouterr().out
    assert result.log.attrs["provenance"]["parameters"]["computed_in"] == "fp32"
    assert torch.equal(weights(result.model), weights(run(tmp_path / "fp32").model))


def test_memory_mapped_blocks_train_as_others_do(tmp_path):
    np.save(tmp_path / "blocks.npy", torch.randint(0, 6, (40, 4)).numpy().astype(np.int16))
    narrow = torch.from_numpy(np.load(tmp_path / "blocks.npy", mmap_mode="c"))
    runs = [
        train(tmp_path / str(blocks.dtype), blocks, BLOCKS, CONFIG, TrainingOptions(**OPTIONS))
        for blocks in (narrow, narrow.long())
    ]
    assert torch.equal(*(weights(result.model) for result in runs))


def test_an_epoch_takes_every_block_once():
    taken = torch.cat([batch_indices(10, 4, step, seed=3) for step in range(5)])
    assert sorted(taken[:10].tolist()) == list(range(10)) == sorted(taken[10:].tolist())
    assert taken[:10].tolist() != taken[10:].tolist()
    assert torch.equal(batch_indices(10, 4, 3, seed=3), batch_indices(10, 4, 3, seed=3))


@pytest.mark.parametrize("n", [1, 2, 7, 63])
def test_a_batch_of_many_epochs_takes_every_block_alike(n):
    first, second = (batch_indices(n, 512, step, seed=3) for step in (0, 1))
    counts = first.bincount(minlength=n)
    assert len(first) == 512 and counts.min() >= 512 // n and counts.max() <= -(-512 // n)
    assert torch.equal(first, batch_indices(n, 512, 0, seed=3))
    assert n == 1 or not torch.equal(first, second)


def test_the_time_of_a_batch_does_not_depend_on_its_epochs(monkeypatch):
    drawn = []
    generator = batches._generator
    monkeypatch.setattr(batches, "_generator", lambda *of: drawn.append(of) or generator(*of))
    batches._shuffle.cache_clear()
    for n in (1, 2, 8, 64, 512, 4096):
        drawn.clear()
        batch_indices(n, 512, 5, seed=3)
        assert len(drawn) <= 9


def test_the_order_of_blocks_is_that_of_earlier_versions():
    """The sweeps whose results are kept have batches of at most eight epochs."""
    found = [batch_indices(n, 64, 3, seed=1) for n in (8, 16, 4096)]
    assert [index[:4].tolist() for index in found] == [
        [2, 5, 4, 3],
        [11, 14, 8, 1],
        [1962, 3271, 160, 281],
    ]


def test_times_are_antithetic():
    t, weight = sample_times(100, 1e-3, torch.Generator().manual_seed(0))
    assert t.dtype == torch.float64 and (weight == 1).all()
    cell = ((t - 1e-3) / (1 - 1e-3) * 100).floor()
    assert cell.tolist() == list(range(100))


def test_importance_sampled_times_have_weights_that_undo_their_density():
    t, weight = sample_times(100_000, 1e-3, torch.Generator().manual_seed(0), "importance")
    assert 1e-3 <= t.min() < 1.1e-3 and t.max() <= 1
    for power in (0.0, 1.0, 2.0):  # moments of the uniform law on [1e-3, 1]
        expected = (1 - 1e-3 ** (power + 1)) / (power + 1) / (1 - 1e-3)
        assert (weight * t**power).mean().item() == pytest.approx(expected, rel=1e-4)
    assert (t < 0.25).double().mean().item() == pytest.approx(
        (0.5 - 1e-3**0.5) / (1 - 1e-3**0.5), abs=1e-4
    )


def test_importance_sampling_trains_on_the_same_loss(tmp_path):
    """At a learning rate of nothing all losses estimate one number, with less variance."""
    losses = {}
    for sampling in ("uniform", "importance"):
        options = OPTIONS | dict(
            steps=150, batch_size=64, learning_rate=1e-12, log_every=1, checkpoint_every=150
        )
        config = UDDMConfig.named("pico", vocab_size=6, length=4, dropout=0.0)
        result = train(
            tmp_path / sampling,
            BLOCKS,
            BLOCKS,
            config,
            TrainingOptions(**options, t_sampling=sampling),
        )
        losses[sampling] = torch.tensor(result.log["loss"].to_numpy())
    error = torch.stack([loss.var() / len(loss) for loss in losses.values()]).sum().sqrt()
    assert (losses["uniform"].mean() - losses["importance"].mean()).abs() < 4 * error
    assert losses["importance"].var() < 0.8 * losses["uniform"].var()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "option",
    [
        {"steps": 0},
        {"batch_size": 1.5},
        {"learning_rate": -1.0},
        {"learning_rate": math.nan},
        {"ema_decay": 1.0},
        {"t_min": 0.0},
        {"precision": "fp8"},
        {"lr_schedule": "step"},
        {"warmup_steps": -1},
        {"steps": True},
        {"t_sampling": "best"},
        {"curriculum": "other"},
    ],
)
def test_bad_options_are_named(option):
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f"{name}={value!r} is not (allowed|an integer)"):
        TrainingOptions(**option)


def test_blocks_must_fit_the_model(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(3, 3\)"):
        train(tmp_path, BLOCKS[:, :3], BLOCKS, CONFIG, TrainingOptions(**OPTIONS))
    with pytest.raises(ValueError, match="allowed"):
        train(tmp_path, BLOCKS + 3, BLOCKS, CONFIG, TrainingOptions(**OPTIONS))
    assert not list(tmp_path.iterdir())


def test_muon_moves_every_matrix_inside_by_an_orthogonal_one(tmp_path):
    """One step: no direction of a matrix moves by more than the rate; q, k and v are apart."""
    config = UDDMConfig.named("pico", vocab_size=6, length=4, dropout=0.0, adaln_zero=False)
    rate, steps = 1e-2, {}
    for optimizer in ("adamw", "muon"):
        options = TrainingOptions(
            **OPTIONS | {"warmup_steps": 0, "learning_rate": rate, "steps": 100},
            optimizer=optimizer,
        )
        loop = TrainingLoop(tmp_path, BLOCKS, config, options)
        head = loop.state.model.head.weight  # at zero nothing before it learns
        torch.nn.init.normal_(head, generator=torch.Generator().manual_seed(0))
        before = {name: part.clone() for name, part in loop.state.model.state_dict().items()}
        loop.update(0)
        after = loop.state.model.state_dict()
        steps[optimizer] = {name: after[name] - before[name] for name in before}
    edges = ("vocab_embed.weight", "head.weight")
    for name, step in steps["muon"].items():
        if step.ndim < 2 or name in edges:
            assert torch.equal(step, steps["adamw"][name]), name
            continue
        for part in step.chunk(3 if name.endswith("qkv.weight") else 1):
            largest = torch.linalg.matrix_norm(part, 2) / (0.2 * rate * max(part.shape) ** 0.5)
            assert 0.5 < largest < 1.3, name


MATRICES = [(8, 8), (8, 8), (32, 8), (8, 32), (48, 16), (24, 8)]


def test_muon_is_torchs_muon():
    """Several steps on tall, wide, square and stacked matrices."""
    generator = torch.Generator().manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in MATRICES]
    stacked = ours[-1]
    theirs = [torch.nn.Parameter(part.detach().clone()) for part in [*ours[:-1], *stacked.chunk(3)]]
    muon = Muon({weight: 3 if weight is stacked else 1 for weight in ours}, 0.1, torch.bfloat16)
    reference = torch.optim.Muon(theirs, 0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        for weight in ours:
            weight.grad = torch.randn(weight.shape, generator=generator)
        parts = [*(weight.grad for weight in ours[:-1]), *stacked.grad.chunk(3)]
        for weight, gradient in zip(theirs, parts):
            weight.grad = gradient.clone()
        muon.step()
        reference.step()
    moved = [*ours[:-1], *stacked.chunk(3)]
    for one, other in zip(moved, theirs):
        torch.testing.assert_close(one, other, atol=2e-3, rtol=0)


def test_an_update_of_stacked_matrices_is_not_that_of_the_whole():
    gradient = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    moved = []
    for parts in (1, 3):
        weight = torch.nn.Parameter(torch.zeros(6, 4))
        weight.grad = gradient
        Muon({weight: parts}, 0.1, torch.float32).step()
        moved.append(weight.detach())
    assert not torch.allclose(*moved, atol=1e-2)
