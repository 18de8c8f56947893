"""The command ``plan``: profile paper against a count by hand, what is done, wrong options."""

import shutil

import pytest
import torch
import yaml

from helpers.command_line import error_line
from helpers.paper_costs import (
    ENTROPY,
    H200,
    RECOVERY,
    RUNS,
    TABLE_1,
    TOKENS,
    L,
    flops_per_token,
    parameters,
)
from helpers.paths import ROOT
from uddm_lib import checkpoints
from uddm_lib.__main__ import main
from uddm_lib.sweep.estimate import estimate


def rows(text, title):
    """The table under a title: size -> the words of its row."""
    lines = text[text.index(title) :].splitlines()
    header = next(i for i, line in enumerate(lines) if line.split()[:2] == ["corpus", "size"])
    table = [
        line.split() for line in "\n".join(lines[header + 1 :]).partition("\n\n")[0].splitlines()
    ]
    return {row[1] if row[0] != "all" else "all": row for row in table}


@pytest.fixture(scope="module")
def paper():
    return estimate("paper", 0.4, (989, 67), "h200")


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
        2e6 + 48 * 60_000 + 46 * 40_000 * 128 * 0.0999 + 11_250 * (70 * 5 + 75 * 10),
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


@pytest.fixture
def checkout(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    (tmp_path / "runs").mkdir()
    shutil.copy(ROOT / "runs" / "profile.schema.yaml", tmp_path / "runs")
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


def test_what_is_done_counts(checkout):
    folder = checkout / "runs" / "mine"
    before = estimate("mine", 0.5, (1e-3, 1e-3), "x", checkout)
    assert (
        rows(before, "Done")["pico"][2:] == ["0", "of", "4"] * 3
        and "not in the profile" not in before
    )
    for n in range(1, 4):
        (folder / f"markov-pico-n{n:06d}-s1").mkdir(parents=True)
        (folder / f"markov-pico-n{n:06d}-s1" / "run.json").write_text("{}")
    for name in ("02_training.ipynb", "validation.csv", "log.csv"):
        (folder / "markov-pico-n000001-s1" / name).touch()
    for step in (100, 250):
        checkpoints.save_step(folder / "markov-pico-n000002-s1", step, {"a": torch.zeros(1)}, {})
    (folder / "old").mkdir()
    (folder / "old" / "run.json").touch()
    text = estimate("mine", 0.5, (1e-3, 1e-3), "x", checkout)
    assert rows(text, "Done")["pico"][2:] == ["1", "of", "4", "0", "of", "4", "0", "of", "4"]
    assert text.splitlines()[-3:] == [
        "markov-pico-n000002-s1: training, checkpoint at step 250 of 1,000",
        "markov-pico-n000003-s1: training, no checkpoint yet",
        "not in the profile: old",
    ]
    training, recovery, entropy, together, left = map(float, rows(text, "GPU-hours")["pico"][2:])
    assert together == pytest.approx(training + recovery + entropy, abs=0.02)
    assert left == pytest.approx(together - training * 1.25 / 4, abs=0.02)
    assert rows(before, "GPU-hours")["pico"][5] == rows(before, "GPU-hours")["pico"][6]


def test_length_and_vocabulary_must_be_given(checkout):
    profile = {"experiments": [{"corpus": "markov", "sizes": ["pico"], "n": [1]}]}
    (checkout / "runs" / "mine.yaml").write_text(yaml.safe_dump(profile))
    with pytest.raises(
        ValueError,
        match="training markov-pico-n000001-s1: give length and vocab_size in the experiment",
    ):
        estimate("mine", 0.4, (1, 1), "x", checkout)


def test_command(capsys):
    assert main(["plan", "laptop", "--tflops", "0.1"]) == 0
    text, err = capsys.readouterr()
    assert text.startswith("laptop: 69 runs, 14 notebooks\n") and not err
    assert "at 40% of the peak of the device: 0.1 TFLOPS in bfloat16, 0.1 in float32" in text
    assert set(rows(text, "Operations")) == {"pico", "nano", "micro", "all"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["papr"],
            "no profile 'papr' (runs/papr.yaml); there are desktop, gpu, laptop, paper, smoke",
        ),
        (["paper", "--mfu", "40"], "--mfu 40 is outside (0, 1]"),
        (["paper", "--mfu", "nan"], "--mfu nan is outside (0, 1]"),
        (["paper", "--tflops", "0"], "--tflops 0 is not a positive number"),
        (["paper", "--device", "tpu"], "--device tpu is unknown; allowed: a100, l40s, h100,"),
        (["paper", "--device", "h100", "--tflops", "1"], "not allowed with"),
    ],
)
def test_wrong_arguments_are_one_line(capsys, arguments, message):
    assert message in error_line(capsys, "plan", *arguments)


def test_numbers_that_yaml_reads_as_text_are_counted(checkout):
    """``9e2`` is text to PyYAML."""
    experiment = (
        "{corpus: markov, length: 16, vocab_size: 32, sizes: [pico], n: [64], "
        "training: {steps: %s, learning_rate: 3e-4}}"
    )
    texts = []
    for steps in ("9e2", "900"):
        (checkout / "runs" / "mine.yaml").write_text(f"experiments: [{experiment % steps}]")
        texts.append(estimate("mine", 0.4, (1, 1), "x", checkout))
    assert texts[0] == texts[1]
