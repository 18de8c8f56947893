"""Lists of runs: trained, read back and probed together; what is done is not done again."""

import pandas as pd
import pytest
import torch

from helpers.paths import ROOT
from uddm_lib import devices, experiments
from uddm_lib.experiments import run_tables
from uddm_lib.results import read_table, write_table
from uddm_lib.training import TrainingLoop

PARAMETERS = {
    "corpus": "markov",
    "length": 8,
    "vocab_size": 8,
    "size": "pico",
    "n": [4, 12],
    "seed": [1, 2],
    "steps": 3,
    "batch_size": 4,
    "warmup_steps": 0,
}
NAMES = [f"markov-pico-n{n:06d}-s{seed}" for n in (4, 12) for seed in (1, 2)]
RECOVERY = {
    "sequences": 6,
    "levels": [0.1, 0.5],
    "steps": 4,
    "shares": [0.5],
    "greedy_steps": 10,
    "start_t": 1.0,
    "example_t": [0.05, 0.25],
    "example_share": [0.2],
    "seed": 1,
    "precision": "fp32",
    "progress": False,
}
ENTROPY = {
    "sequences": 6,
    "generated": 5,
    "steps": 4,
    "outcome_t": 0.5,
    "seed": 1,
    "precision": "fp32",
    "progress": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    experiments.train_runs(experiments.prepare_runs(PARAMETERS), folder)
    return folder


@pytest.fixture
def runs(folder):
    return experiments.load_runs(f"{folder}/markov-*")


def test_every_pair_of_n_and_seed_is_a_run_in_a_folder_of_its_own(folder, monkeypatch):
    assert sorted(path.name for path in folder.iterdir()) == NAMES

    def update(*_):
        raise AssertionError("a finished run was trained")

    monkeypatch.setattr(TrainingLoop, "update", update)
    runs = experiments.train_runs(experiments.prepare_runs(PARAMETERS), folder)
    assert [run.folder.name for run in runs] == NAMES
    labels = [(run.labels["n"], run.labels["seed"]) for run in runs]
    assert labels == [(4, 1), (4, 2), (12, 1), (12, 2)]
    assert all(run.labels["n"] == len(run.train) for run in runs)


def test_a_new_seed_is_trained_alone(folder, monkeypatch, tmp_path):
    steps = []
    update = TrainingLoop.update
    monkeypatch.setattr(
        TrainingLoop, "update", lambda loop, step: steps.append(loop.folder) or update(loop, step)
    )
    for seeds in ([1], [1, 2]):
        plan = experiments.prepare_runs(PARAMETERS | {"n": 4, "seed": seeds})
        experiments.train_runs(plan, tmp_path)
    assert [path.name for path in steps] == 3 * [NAMES[0]] + 3 * [NAMES[1]]


def test_the_corpus_is_loaded_once(folder, monkeypatch):
    from uddm_lib.experiments import _data

    loads, load = [], _data.load_corpus
    monkeypatch.setattr(
        _data, "load_corpus", lambda *names, **options: loads.append(1) or load(*names, **options)
    )
    experiments.prepare_runs(PARAMETERS)
    experiments.load_runs([folder / name for name in NAMES])
    assert len(loads) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": []}, r"n=\[\] must be a value, or a list of at least one, each once"),
        ({"n": [4, 4]}, r"n=\[4, 4\] must be"),
        ({"seed": [1, 1]}, r"seed=\[1, 1\] must be"),
        ({"n": [4, 0]}, "n=0 is not an integer from 1 to"),
        ({"seed": [-1]}, "seed=-1 is not"),
    ],
)
def test_bad_lists_are_refused_before_anything_is_trained(change, message):
    with pytest.raises(ValueError, match=message):
        experiments.prepare_runs(PARAMETERS | change)


def test_runs_are_read_by_folder_list_and_pattern_in_order(folder):
    def names(*given):
        return [run.folder.name for run in experiments.load_runs(*given)]

    assert names(folder / NAMES[2]) == [NAMES[2]]
    assert names([str(folder / NAMES[3]), f"{folder}/*-s1", folder / NAMES[3]]) == [
        NAMES[0],
        NAMES[2],
        NAMES[3],
    ]
    assert names(f"{folder}/markov-*") == NAMES


def test_wrong_lists_of_runs_are_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\*-s7 matches no run's folder"):
        experiments.load_runs(f"{folder}/*-s7")
    with pytest.raises(FileNotFoundError, match="no run given"):
        experiments.load_runs([])
    other = PARAMETERS | {"n": 4, "seed": 1, "corpus_seed": 2}
    experiments.train_runs(experiments.prepare_runs(other), tmp_path)
    with pytest.raises(
        ValueError, match=r"several corpora: .*corpus_seed=1.*corpus_seed=2.*Give those of one"
    ):
        experiments.load_runs([folder / NAMES[0], tmp_path / NAMES[0]])


def test_two_runs_of_one_point_and_seed_are_refused(folder, tmp_path):
    same = PARAMETERS | {"n": 4, "seed": 1}
    experiments.train_runs(experiments.prepare_runs(same), tmp_path)
    with pytest.raises(ValueError, match="are of one corpus, size, n and seed: give one of them"):
        experiments.load_runs([folder / NAMES[0], tmp_path / NAMES[0]])
    most = len(experiments.prepare(same).corpus.train)
    with pytest.raises(ValueError, match=f"'all' is {most}, which is listed too"):
        experiments.prepare_runs(PARAMETERS | {"n": [most, "all"]})
    with pytest.raises(ValueError, match="n not given"):
        experiments.prepare_runs({"corpus": "markov", "size": "pico"})


def test_a_folder_trained_again_has_new_tables(runs):
    experiments.training_tables(runs[:1])
    log = runs[0].folder / "log.csv"
    before = read_table(runs[0].folder / "validation.csv").attrs["provenance"]["trained"]
    write_table(read_table(log).assign(tokens_per_second=1.0), log, {})
    experiments.training_tables(runs[:1])
    after = read_table(runs[0].folder / "validation.csv").attrs["provenance"]["trained"]
    assert before != after


def test_tables_of_one_run_are_those_of_the_run_among_others(runs):
    for tables_of, parameters in (
        (experiments.recovery_tables, RECOVERY),
        (experiments.entropy_tables, ENTROPY),
    ):
        together = tables_of(runs, parameters, keep=False)
        alone = tables_of(runs[2:3], parameters, keep=False)
        for name, table in together.items():
            assert list(table)[:4] == ["corpus", "size", "n", "seed"]
            rows = table[(table["n"] == 12) & (table["seed"] == 1)].reset_index(drop=True)
            pd.testing.assert_frame_equal(rows, alone[name])


def test_exact_limits_are_probed_once_for_every_n(runs):
    recovery = experiments.recovery_tables(runs, RECOVERY, keep=False)["recovery"]
    seeds = recovery.groupby(["denoiser", "n"])["seed"].unique().map(list)
    assert seeds["network"].tolist() == [[1, 2], [1, 2]]
    assert seeds["memorizer"].tolist() == seeds["generalizer"].tolist() == [[1], [1]]


def test_generated_sequences_know_their_nearest_training_sequence(runs):
    tables = experiments.entropy_tables(runs, ENTROPY, keep=False)
    table = tables["sequence_entropy"]
    assert table["overlap"].notna().equals(table["set"] == "generated")
    memorized = table[(table["denoiser"] == "memorizer") & (table["set"] == "generated")]
    assert memorized["overlap"].mean() > 0.8  # mixtures come from so few steps
    assert len(tables["samples"]) == 4 * 5


def test_kept_tables_are_read_while_parameters_and_package_are_the_same(runs, monkeypatch):
    counted, recovery = [], run_tables._recovery
    monkeypatch.setattr(
        run_tables,
        "_recovery",
        lambda run, *rest: counted.append(run.folder.name) or recovery(run, *rest),
    )

    def probed(parameters):
        counted.clear()
        tables = experiments.recovery_tables(runs, parameters)
        return tables, list(dict.fromkeys(counted))

    first, names = probed(RECOVERY)
    assert names == NAMES
    again, names = probed(RECOVERY | {"progress": True, "run": "elsewhere", "interactive": True})
    assert names == []
    for name, table in first.items():
        pd.testing.assert_frame_equal(table, again[name])
    (runs[1].folder / "basins.csv").write_text("damaged")
    assert probed(RECOVERY)[1] == [NAMES[1]]
    (runs[2].folder / "recovery.csv").unlink()
    assert probed(RECOVERY)[1] == [NAMES[2]]
    assert probed(RECOVERY | {"levels": [0.1]})[1] == NAMES
    assert probed(RECOVERY | {"levels": [0.1]})[1] == []
    provenance = run_tables.provenance
    monkeypatch.setattr(
        run_tables, "provenance", lambda *names: provenance(*names) | {"code": "changed"}
    )
    assert probed(RECOVERY | {"levels": [0.1]})[1] == NAMES


@pytest.mark.parametrize("fast", [True, False])
def test_tables_record_the_precision_that_was_used(runs, monkeypatch, fast):
    monkeypatch.setattr(devices, "has_fast_bf16", lambda device: fast)
    experiments.recovery_tables(runs[:1], RECOVERY | {"precision": "bf16"})
    parameters = read_table(runs[0].folder / "recovery.csv").attrs["provenance"]["parameters"]
    assert parameters["precision"] == "bf16"
    assert parameters["computed_in"] == ("bf16" if fast else "fp32")
    assert "progress" not in parameters


def test_validation_and_log_of_all_runs(runs):
    tables = experiments.training_tables(runs)
    assert tables["validation"]["n"].tolist() == [4, 4, 12, 12]
    assert tables["log"].groupby(["n", "seed"]).size().tolist() == [3] * 4
    foreign = tables["validation"].iloc[:1].assign(nelbo=0.0)
    write_table(foreign, runs[0].folder / "validation.csv", {})  # by nobody knows what
    again = experiments.training_tables(runs[:1])["validation"]
    assert again.equals(tables["validation"].iloc[:1])
    assert torch.isfinite(torch.tensor(tables["validation"]["nelbo"].to_numpy())).all()


@pytest.mark.parametrize("name", ["levels", "shares", "example_t", "example_share"])
def test_an_empty_list_of_levels_is_refused_before_anything_is_measured(name):
    with pytest.raises(ValueError, match=rf"{name}=\[\] must hold at least one level"):
        experiments.recovery_tables([], RECOVERY | {name: []})


def test_a_level_that_corrupts_no_token_is_named(runs):
    message = r"outcome_t=1e-06 corrupts no token of sequences=6 sequences: raise one"
    with pytest.raises(ValueError, match=message):
        experiments.entropy_tables(runs[:1], ENTROPY | {"outcome_t": 1e-6}, keep=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of papermill's own imports
def test_notebook_05_shows_a_sweep_of_one_run(tmp_path, monkeypatch):
    import papermill

    folder, output = tmp_path / "runs", tmp_path / "figures"
    experiments.train_runs(experiments.prepare_runs(PARAMETERS | {"n": 1, "seed": 1}), folder)
    runs = experiments.load_runs(f"{folder}/*")
    experiments.training_tables(runs)
    experiments.recovery_tables(runs, RECOVERY)
    experiments.entropy_tables(runs, ENTROPY)
    (folder / "left").mkdir()
    (folder / "left" / "run.json").write_text("{}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    executed = papermill.execute_notebook(
        ROOT / "notebooks" / "05_scaling.ipynb",
        tmp_path / "out.ipynb",
        {"results_folder": str(folder), "output": str(output), "left_out": ["left"]},
        kernel_name="python3",
        cwd=ROOT,
        progress_bar=False,
    )
    last = [cell for cell in executed.cells if cell.cell_type == "code"][-1]
    assert "wrote 12 figures and 14 tables" in last.outputs[-1].text
    assert len(list(output.glob("*.png"))) == 12
    assert set(read_table(output / "claims.csv")["verdict"]) == {"not tested"}
