"""Parameters: loosely typed values come out right, or an error says what is wrong."""

import os
import typing

import pytest

from uddm_lib.results import check_parameters, convert_parameters


def namespace(kind, value):
    return {"__annotations__": {"p": kind}, "p": value}


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        (int, 64, 64),
        (int, 1e4, 10000),
        (int, "64", 64),
        (int, "1e4", 10000),
        (int, "12345678901234567890", 12345678901234567890),
        (float, 1, 1.0),
        (float, 0.5, 0.5),
        (float, "3e-4", 3e-4),
        (bool, True, True),
        (bool, 0, False),
        (bool, "True", True),
        (bool, "false", False),
        (bool, "1", True),
        (str, "markov", "markov"),
        (str, "1e4", "1e4"),
        (list, "[1, 'a']", [1, "a"]),
        (list[int], "[1, 2.0]", [1, 2]),
        (list[float], (1, "2"), [1.0, 2.0]),
        (list[float], "0.1, 0.2", [0.1, 0.2]),
        (list[str], '["a", "b"]', ["a", "b"]),
        (list[float], "[]", []),
        (dict, '{"a": {"b": 1}}', {"a": {"b": 1}}),
        (dict[str, float], "{'a': 1}", {"a": 1.0}),
        (int | None, None, None),
        (int | None, "None", None),
        (int | None, "5", 5),
        (int | None, "1e4", 10000),
        (int | str, 64, 64),
        (int | str, "64", 64),
        (int | str, "9e2", 900),
        (int | str, "all", "all"),
        (int | str | None, "None", None),
        (str | int, "64", "64"),
        (float | bool, "true", True),
        (float, "1e4", 1e4),
        (typing.Optional[int], "5", 5),  # noqa: UP045
    ],
)
def test_values_are_converted_to_the_declared_type(kind, value, converted):
    names = namespace(kind, value)
    check_parameters(names)
    assert names["p"] == converted and type(names["p"]) is type(converted)
    if isinstance(converted, list):
        assert [type(item) for item in names["p"]] == [type(item) for item in converted]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (int, 1.5),
        (int, "1.5"),
        (int, True),
        (int, float("nan")),
        (int, "inf"),
        (int, "many"),
        (int, None),
        (int, [1]),
        (float, "nan"),
        (float, float("inf")),
        (float, True),
        (float, "x"),
        (float, 10**400),
        (bool, 2),
        (bool, "yes"),
        (bool, 1.0),
        (bool, None),
        (str, 5),
        (str, True),
        (str, None),
        (list[int], "[1, 1.5]"),
        (list[float], 0.1),
        (list[float], "[0.1"),
        (list, [float("nan")]),
        (list, "[NaN]"),
        (dict, "[1]"),
        (dict[str, int], '{"a": "b"}'),
        (int | None, "x"),
        (int | str, 1.5),
        (int | str, True),
        (int | str, [1]),
    ],
)
def test_values_are_never_bent(kind, value):
    names = namespace(kind, value)
    with pytest.raises(ValueError, match="p=.*expected"):
        check_parameters(names)
    assert names["p"] is value


def test_unknown_parameters_are_named_with_what_is_allowed():
    names = {
        "__annotations__": {"corpus": str, "steps": int},
        "In": [""],
        "exit": None,
        "corpus": "markov",
        "steps": 1,
        "stepps": 2,
        "zzz": "x",
        "_private": 1,
        "module": os,
        "function": print,
    }
    with pytest.raises(ValueError) as error:
        check_parameters(names)
    assert (
        str(error.value)
        == "unknown parameter stepps (did you mean steps?), zzz; allowed: corpus, steps"
    )


def test_what_was_defined_before_the_parameters_is_none():
    """By Jupyter, by a startup file of IPython, or by a cell above, also under the same name."""
    names = {"__annotations__": {"corpus": str, "steps": int}, "steps": 7, "DEBUG": False}
    names.update(steps=1, corpus="markov")
    check_parameters(names)
    assert names["steps"] == 1 and names["DEBUG"] is False
    names = {"__annotations__": {"steps": int}, "DEBUG": False, "steps": 1, "stepps": 2}
    with pytest.raises(ValueError, match="unknown parameter stepps [^,]*; allowed: steps"):
        check_parameters(names)


def test_second_call_knows_that_other_names_are_the_notebooks_own():
    names = namespace(int, "3")
    check_parameters(names)
    names.update(loop_variable=5, p="4")
    check_parameters(names)
    assert names["p"] == 4


def test_values_of_a_profile_are_converted_by_what_a_notebook_declares():
    declared = {"n": int | str, "steps": int, "learning_rate": float, "levels": list[float]}
    values = {"learning_rate": "3e-4", "steps": "1e4", "n": "all"}  # as PyYAML reads them
    converted = convert_parameters(values, declared)
    assert converted == {"learning_rate": 3e-4, "steps": 10_000, "n": "all"}
    assert list(converted) == list(values) and values["steps"] == "1e4"


def test_wrong_values_of_a_profile_are_all_named():
    with pytest.raises(ValueError) as error:
        convert_parameters({"steps": "abc", "seed": "1.5"}, {"steps": int, "seed": int})
    assert str(error.value) == (
        "steps='abc': not a number, expected int; seed='1.5': not a whole number, expected int"
    )
    with pytest.raises(ValueError, match=r"unknown parameter step \(did you mean steps\?\)"):
        convert_parameters({"step": 1}, {"steps": int})
