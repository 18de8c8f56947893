"""What a sweep takes: the counts of profile paper against a count by hand, what is done, the command line."""

import shutil

import pytest
import torch
import yaml

from helpers.paths import ROOT
from uddm_lib import checkpoints, results
from uddm_lib.__main__ import main
from uddm_lib.model import UDDM, UDDMConfig
from uddm_lib.sampling import restore
from uddm_lib.sweep import costs

# The count by hand. Paper, table 1: hidden size, blocks; 128 tokens, conditioning of 128, BERT's vocabulary.
TABLE_1 = {"tiny": (256, 8), "small": (768, 12), "medium": (1024, 24)}
L, C, V = 128, 128, 30_522
RUNS = 54
TOKENS = 1_000_000 * 512 * L  # of a training

# Reverse process from t on a grid of 1,000 intervals: 1,000 t steps and the removal of noise. Greedy: only the last
# interval, from t = 1e-3 + 1e-5 to 1e-5, can move a token, and the removal of noise.
STOCHASTIC = {0.05: 51, 0.1: 101, 0.25: 251, 0.5: 501, 1.0: 1001}
GREEDY, SHARES = 2, 10
RECOVERY = (5_000 + 5_000 + 1_250) * (
    sum(STOCHASTIC.values()) + SHARES * GREEDY
)  # train, test, control
ENTROPY = (
    2 * 20_000 * (STOCHASTIC[0.1] + 1)  # restored, and their tokens' entropy
    + 20_000 * STOCHASTIC[1.0]  # generated
    + 3 * 20_000
)  # entropy of train, test and generated sequences
H200 = {"bf16": 989e12, "fp32": 67e12}


def parameters(size):
    width, blocks = TABLE_1[size]
    noise_level = (256 * C + C) + (C * C + C)
    attention, mlp = (
        4 * width * width,
        (4 * width * width + 4 * width) + (4 * width * width + width),
    )
    block = attention + mlp + 2 * width + (C * 6 * width + 6 * width)  # two norms, six modulations
    end = width + (C * 2 * width + 2 * width) + (width * V + V)
    return V * width + noise_level + blocks * block + end


def flops_per_token(size):
    """Forward: a multiplication and an addition for each weight of a product, and for each pair of tokens twice."""
    width, blocks = TABLE_1[size]
    weights = blocks * 12 * width**2 + width * V
    return 2 * (weights + blocks * 2 * L * width)


def rows(text, title):
    """The table under a title: size -> the words of its row."""
    lines = text[text.index(title) :].splitlines()
    header = next(i for i, line in enumerate(lines) if line.split()[:2] == ["corpus", "size"])
    table = [
        line.split() for line in "\n".join(lines[header + 1 :]).partition("\n\n")[0].splitlines()
    ]
    return {row[1] if row[0] != "all" else "all": row for row in table}


@pytest.fixture(scope="module")
def plan():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "runs")
        import plan

        yield plan


@pytest.fixture(scope="module")
def paper(plan):
    return plan.report("paper", 0.4, (989, 67), "h200")


def test_parameters_by_hand():
    counts = {size: parameters(size) for size in TABLE_1}
    assert {size: round(count / 1e6, 1) for size, count in counts.items()} == {
        "tiny": 23.7,
        "small": 139.3,
        "medium": 384.0,
    }  # those of the released models
    for size, count in counts.items():
        assert costs.parameter_count(UDDMConfig.named(size, V, L)) == count


def test_operations_by_hand():
    for size in TABLE_1:
        config = UDDMConfig.named(size, V, L)
        assert costs.training_flops(config, 1_000_000, 512) == 3 * flops_per_token(size) * TOKENS
        assert costs.probe_flops(config, 7) == 7 * L * flops_per_token(size)


def test_passes_by_hand():
    shares = tuple(0.1 * share for share in range(SHARES))
    assert costs.recovery_passes(5_000, tuple(STOCHASTIC), 1_000, shares, 1_000, 1.0) == RECOVERY
    assert costs.entropy_passes(20_000, 20_000, 1_000, 0.1) == ENTROPY


@pytest.mark.parametrize(("start_t", "steps", "greedy"), [(0.5, 10, False), (1.0, 40, True)])
def test_passes_are_those_of_the_reverse_process(start_t, steps, greedy):
    model = UDDM(
        UDDMConfig(vocab_size=5, length=64, hidden_size=8, cond_dim=8, n_blocks=1, n_heads=1)
    ).eval()
    asked = []
    model.hidden = lambda z_t, sigma, hidden=model.hidden: (
        asked.append(len(z_t)) or hidden(z_t, sigma)
    )
    restore(
        model,
        torch.randint(5, (6, 64), generator=torch.Generator().manual_seed(1)),
        start_t,
        steps,
        greedy,
        torch.Generator().manual_seed(1),
    )
    most = 6 * (
        costs._greedy_calls(steps, start_t) if greedy else len(costs.time_grid(steps, start_t))
    )
    assert sum(asked) == most if greedy else most / 2 < sum(asked) <= most


def test_plan_of_the_paper_agrees_with_the_count_by_hand(paper):
    assert paper.startswith(f"paper: {3 * RUNS} runs, {3 * 3 * RUNS + 2} notebooks")
    work, hours = rows(paper, "Operations"), rows(paper, "GPU-hours")
    total = dict.fromkeys(("training", "recovery", "entropy"), 0)
    for size in TABLE_1:
        forward = flops_per_token(size)
        flops = {
            "training": RUNS * 3 * forward * TOKENS,
            "recovery": RUNS * RECOVERY * L * forward,
            "entropy": RUNS * ENTROPY * L * forward,
        }
        assert work[size] == [
            "lm1b",
            size,
            f"{parameters(size):,}",
            "54",
            "54,000,000",
            "3.54e+12",
            *(f"{count:.3g}" for count in flops.values()),
        ]
        spent = {
            stage: count / 0.4 / H200["bf16" if stage == "training" else "fp32"] / 3600
            for stage, count in flops.items()
        }
        for stage, printed in zip(spent, hours[size][2:]):
            assert float(printed.replace(",", "")) == pytest.approx(spent[stage], rel=0.01, abs=0.5)
            total[stage] += spent[stage]
    assert (
        hours["all"][-1] == hours["all"][-2] == f"{sum(total.values()):,.0f}"
    )  # nothing of it is done


def test_disk_of_the_paper_by_hand(paper):
    disk, table = (
        rows(paper, "Disk"),
        2e6 + 48 * 60_000 + 42 * 40_000 * 128 * 0.0999 + 11_250 * (70 * 5 + 75 * 10),
    )
    for size in TABLE_1:
        models, tables = RUNS * 4 * parameters(size) / 1e9, RUNS * table / 1e9
        expected = (
            models,
            tables,
            models + tables,
            16 * parameters(size) / 1e9,
        )  # weights, average, two moments
        printed = [
            float(number) / (1 if unit == "GB" else 1000)
            for number, unit in zip(disk[size][2::2], disk[size][3::2])
        ]
        assert printed == pytest.approx(expected, abs=0.06)


# what is done


@pytest.fixture
def checkout(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    (tmp_path / "runs").mkdir()
    profile = {
        "experiments": [
            {
                "corpus": "markov",
                "length": 16,
                "vocab_size": 32,
                "sizes": ["pico"],
                "n": [1, 2, 3, 4],
                "training": {"steps": 1000},
            }
        ]
    }
    (tmp_path / "runs" / "mine.yaml").write_text(yaml.safe_dump(profile))
    return tmp_path


def test_what_is_done_counts(plan, checkout):
    folder = checkout / "runs" / "mine"
    before = plan.report("mine", 0.5, (1e-3, 1e-3), "x", checkout)
    assert (
        rows(before, "Done")["pico"][2:] == ["0", "of", "4"] * 3
        and "not in the profile" not in before
    )
    for n in range(1, 4):
        (folder / f"markov-pico-n{n:06d}").mkdir(parents=True)
        (folder / f"markov-pico-n{n:06d}" / "run.json").write_text("{}")
    for name in ("02_training.ipynb", "validation.csv"):
        (folder / "markov-pico-n000001" / name).touch()
    for step in (100, 250):
        checkpoints.save_step(folder / "markov-pico-n000002", step, {"a": torch.zeros(1)}, {})
    (folder / "old").mkdir()
    (folder / "old" / "run.json").touch()
    text = plan.report("mine", 0.5, (1e-3, 1e-3), "x", checkout)
    assert rows(text, "Done")["pico"][2:] == ["1", "of", "4", "0", "of", "4", "0", "of", "4"]
    assert text.splitlines()[-3:] == [
        "markov-pico-n000002: training, checkpoint at step 250 of 1,000",
        "markov-pico-n000003: training, no checkpoint yet",
        "not in the profile: old",
    ]
    training, recovery, entropy, together, left = map(float, rows(text, "GPU-hours")["pico"][2:])
    assert together == pytest.approx(training + recovery + entropy, abs=0.02)
    assert left == pytest.approx(together - training * 1.25 / 4, abs=0.02)
    assert rows(before, "GPU-hours")["pico"][5] == rows(before, "GPU-hours")["pico"][6]


def test_length_and_vocabulary_must_be_given(plan, checkout):
    profile = {"experiments": [{"corpus": "markov", "sizes": ["pico"], "n": [1]}]}
    (checkout / "runs" / "mine.yaml").write_text(yaml.safe_dump(profile))
    with pytest.raises(
        ValueError, match="training markov pico n=1: give length and vocab_size in the experiment"
    ):
        plan.report("mine", 0.4, (1, 1), "x", checkout)


# the command line


def failed(capsys, *arguments):
    try:
        code = main(["plan", *arguments])
    except SystemExit as stop:
        code = stop.code
    out, line = capsys.readouterr()
    assert code == 2 and not out and line.startswith("error: ") and line.count("\n") == 1
    return line


def test_command(capsys):
    assert main(["plan", "laptop", "--tflops", "0.1"]) == 0
    text, err = capsys.readouterr()
    assert text.startswith("laptop: 23 runs, 71 notebooks\n") and not err
    assert "at 40% of the peak of the device: 0.1 TFLOPS in bfloat16, 0.1 in float32" in text
    assert set(rows(text, "Operations")) == {"pico", "nano", "micro", "all"}


def test_wrong_arguments_are_one_line(capsys, monkeypatch):
    assert "no profile 'papr' (runs/papr.yaml); there are gpu, laptop, paper, smoke" in failed(
        capsys, "papr"
    )
    assert "--mfu 40 is outside (0, 1]" in failed(capsys, "paper", "--mfu", "40")
    assert "--mfu nan is outside (0, 1]" in failed(capsys, "paper", "--mfu", "nan")
    assert "--tflops 0 is not a positive number" in failed(capsys, "paper", "--tflops", "0")
    assert "--device tpu is unknown; allowed: a100, l40s, h100," in failed(
        capsys, "paper", "--device", "tpu"
    )
    assert "not allowed with" in failed(capsys, "paper", "--device", "h100", "--tflops", "1")

    def nowhere():
        raise FileNotFoundError("no folder with uddm_lib/ and notebooks/")

    monkeypatch.setattr(results, "repository_root", nowhere)
    assert "plan needs a checkout of the repository, with its runs/" in failed(capsys, "paper")
