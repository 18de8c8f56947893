"""Profiles: mistakes are refused before anything starts, by one sentence each."""

import pytest

from helpers.fake_sweep import PROFILE, profile_with, write_profile
from uddm_lib.sweep.jobs import jobs_of
from uddm_lib.sweep.profiles import ProfileError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 16}, "experiment 1: n must be a list of positive integers, or 'all'.*got 16"),
        ({"n": []}, "n must be a list of positive integers, or 'all'.*got \\[\\]"),
        ({"n": [16, 0]}, "n must be a list of positive integers.*got \\[16, 0\\]"),
        ({"n": [True]}, "n must be a list of positive integers"),
        ({"n": ["many"]}, "n must be a list of positive integers.*many"),
        ({"sizes": "pico"}, "sizes must be a list of names of model sizes; got 'pico'"),
        ({"sizes": [1]}, "sizes must be a list of names"),
        ({"corpus": 7}, "corpus must be text; got 7"),
        ({"length": "long"}, "length must be a positive integer; got 'long'"),
        ({"training": [1]}, "training must be a mapping of a notebook's parameters; got \\[1\\]"),
        ({"trainig": {}}, "experiment 1: unknown key 'trainig'; allowed: corpus, .*, training"),
        ({"corpus": None}, "experiment 1 has no corpus"),
        ({"n": None}, "experiment 1: give either n, or fractions and total"),
        ({"fractions": [0.5], "total": 10}, "give either n, or fractions and total"),
        ({"n": None, "fractions": [0.5]}, "give either n, or fractions and total"),
    ],
)
def test_wrong_experiments_are_refused(checkout, changes, message):
    write_profile(checkout, profile_with(**changes))
    with pytest.raises(ProfileError, match=message):
        jobs_of("tiny", checkout)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total": 0}, "total must be a positive integer; got 0"),
        ({"fractions": [1.5]}, "fractions must be a list of numbers above 0 and up to 1"),
        ({"fractions": [0.05]}, "fractions must be numbers from 1/total = 0.1 to 1; got \\[0.05"),
        ({"fractions": ["all"]}, "fractions must be a list of numbers.*got \\['all'\\]"),
        ({"fractions": []}, "fractions must be a list"),
        ({"fractions": [0.5, 0.51]}, "has a value twice"),
    ],
)
def test_wrong_fractions_are_refused(checkout, changes, message):
    write_profile(checkout, profile_with(**{"n": None, "fractions": [0.5], "total": 10} | changes))
    with pytest.raises(ProfileError, match=message):
        jobs_of("tiny", checkout)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiments: [", "runs/tiny.yaml is not valid YAML"),
        ("[]", "runs/tiny.yaml must be a mapping with the keys experiments, group"),
        ("", "runs/tiny.yaml must be a mapping"),
        ("group: run", "runs/tiny.yaml has no experiments"),
        ("experiments: []", "experiments must be a list of at least one experiment; got \\[\\]"),
        ("experiments: {}", "experiments must be a list of at least one experiment; got {}"),
        ("experiments: [1]", "experiment 1 must be a mapping with the keys corpus"),
        ("experiments: [{corpus: markov, n: [1]}]", "experiment 1 has no sizes"),
        (
            "experiments: [{corpus: markov, sizes: [pico], n: [1]}]\nclaim: {}",
            "runs/tiny.yaml: unknown key 'claim'; allowed: experiments, .*, assert_claims",
        ),
        (
            "experiments: [{corpus: markov, sizes: [pico], n: [1]}]\nassert_claims: 1",
            "assert_claims must be a list of names of claims that must hold; got 1",
        ),
        (
            "experiments: [{corpus: markov, sizes: [pico], n: [1]}]\ntheory:",
            "theory must be a mapping of a notebook's parameters; got None",
        ),
    ],
)
def test_malformed_profiles_are_refused(checkout, text, message):
    (checkout / "runs" / "tiny.yaml").write_text(text)
    with pytest.raises(ProfileError, match=message):
        jobs_of("tiny", checkout)


def test_numbers_may_have_an_exponent(checkout):
    """To PyYAML ``1e3`` and ``1.5e3`` are text."""
    start = "experiments: [{corpus: markov, length: 1.6e1, sizes: [pico], seeds: [1E0], "
    for rest in ("n: [1e3, 1.5e3]}]", "fractions: [1e-1, 15.e-2], total: +1e4}]"):
        (checkout / "runs" / "tiny.yaml").write_text(start + rest)
        jobs = [job for job in jobs_of("tiny", checkout).values() if job.stage == "training"]
        parameters = [job.parameters for job in jobs]
        assert [(one["n"], one["length"], one["seed"]) for one in parameters] == [
            (1000, 16, 1),
            (1500, 16, 1),
        ]
    (checkout / "runs" / "tiny.yaml").write_text(start + "n: [1e-3]}]")
    with pytest.raises(ProfileError, match=r"n must be a list of positive integers.*\[0.001\]"):
        jobs_of("tiny", checkout)


def test_experiments_of_a_corpus_are_of_the_same_text(checkout):
    """A figure shows a corpus once."""
    first = PROFILE["experiments"][0]
    for changes in ({"length": 32}, {"vocab_size": 9}, {"tokenizer": "gpt2"}):
        second = first | {"n": [3]} | changes
        write_profile(checkout, {"experiments": [first, second]})
        (key,) = changes
        with pytest.raises(ProfileError, match=f"corpus 'markov' differ in {key}:"):
            jobs_of("tiny", checkout)


def test_an_error_names_the_experiment(checkout):
    first = PROFILE["experiments"][0]
    write_profile(checkout, {"experiments": [first, first | {"n": [0]}]})
    with pytest.raises(ProfileError, match="runs/tiny.yaml, experiment 2: n must be"):
        jobs_of("tiny", checkout)


def test_an_unknown_profile_is_named_and_the_schema_is_none(checkout):
    known = "there are desktop, gpu, laptop, paper, smoke, tiny"
    with pytest.raises(ProfileError, match=rf"no profile 'tyni' \(runs/tyni.yaml\); {known}$"):
        jobs_of("tyni", checkout)
