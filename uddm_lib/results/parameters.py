"""Parameters as YAML and Papermill pass them, converted to the types that a notebook declares."""

import ast
import difflib
import itertools
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any

_PLAIN = (str, int, float, bool, list, dict, tuple, type(None))


def check_parameters(namespace: MutableMapping[str, Any]) -> None:
    """Check and convert a notebook's parameters: call it with ``globals()`` after their cell.

    Parameters are the annotated names (``n: int = 64``) of ``namespace``, converted in place as
    :func:`convert_parameters` does. On the first call, any other name that got a plain value after
    the last of them is a parameter that the notebook does not have. Variables of Jupyter, of a
    startup file and of cells above come before. Later calls, in Jupyter, skip this check: the
    namespace then also holds the notebook's own variables.

    Raises:
        ValueError: naming each unknown parameter with the allowed names, or each wrong value with
            its declared type. The namespace is unchanged then.
    """
    declared = namespace.get("__annotations__", {})
    later = itertools.takewhile(lambda name: name not in declared, reversed(list(namespace)))
    unknown = [
        name
        for name in reversed(list(later))
        if type(namespace[name]) in _PLAIN and not name.startswith("_")
    ]
    if unknown and not namespace.get("_parameters_checked"):
        raise ValueError(unknown_names(unknown, declared))
    values = convert_parameters({name: namespace[name] for name in declared}, declared)
    namespace.update(values, _parameters_checked=True)


def convert_parameters(values: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """Convert loosely typed values to declared types, without loss.

    YAML reads ``3e-4`` as text, and Papermill's ``-r`` passes every value as text: ``"1e4"`` is
    an integer here, ``"[1, 2]"`` a list, ``"None"`` None. The value of a union, as ``int | str``,
    gets the first type that takes it: ``"9e2"`` becomes 900, ``"all"`` stays a word.

    Args:
        values: from parameter name to value.
        declared: from parameter name to annotation: int, float, bool, str, list[...], dict[...]
            or a union of them, also with None. A module's ``__annotations__`` has this form.

    Returns:
        The converted values, in the order given.

    Raises:
        ValueError: naming each unknown parameter with the allowed names, or each wrong value with
            its declared type.
    """
    if unknown := [name for name in values if name not in declared]:
        raise ValueError(unknown_names(unknown, declared))
    converted, problems = {}, []
    for name, value in values.items():
        try:
            converted[name] = _convert(value, declared[name])
        except (ValueError, OverflowError) as error:
            problems.append(f"{name}={value!r}: {error}, expected {_spelled(declared[name])}")
    if problems:
        raise ValueError("; ".join(problems))
    return converted


def unknown_names(unknown: Iterable[str], allowed: Iterable[str]) -> str:
    """The message about unknown parameters: each with its closest match, then the allowed ones."""
    allowed, hints = list(allowed), []
    for name in unknown:
        close = difflib.get_close_matches(name, allowed, 1)
        hints.append(f"{name} (did you mean {close[0]}?)" if close else name)
    return f"unknown parameter {', '.join(hints)}; allowed: {', '.join(allowed)}"


def _convert(value: Any, annotation: Any) -> Any:
    """``value`` as the annotation says; ValueError if that would lose or invent something."""
    kind = typing.get_origin(annotation) or annotation
    converter = _CONVERTERS.get(kind)
    if converter is not None:
        return converter(value, typing.get_args(annotation))
    if not isinstance(value, kind):
        raise ValueError(f"not a {kind.__name__}")
    return value


def _integer(value: Any, _: tuple[Any, ...]) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass  # "1e4"
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    number = _real(value, ())
    if number != int(number):
        raise ValueError("not a whole number")
    return int(number)


def _real(value: Any, _: tuple[Any, ...]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("not a number")
    try:
        number = float(value)
    except ValueError:
        raise ValueError("not a number") from None
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _boolean(value: Any, _: tuple[Any, ...]) -> bool:
    words = {"true": True, "false": False, "1": True, "0": False}
    if isinstance(value, (bool, int, str)) and str(value).lower() in words:
        return words[str(value).lower()]
    raise ValueError("not true or false")


def _text(value: Any, _: tuple[Any, ...]) -> str:
    if not isinstance(value, str):
        raise ValueError("not text; Papermill's -r passes a value as text")
    return value


def _list(value: Any, arguments: tuple[Any, ...]) -> list[Any]:
    value = _literal(value) if isinstance(value, str) else value
    if not isinstance(value, (list, tuple)):
        raise ValueError("not a list")
    return [_convert(item, arguments[0] if arguments else type(item)) for item in value]


def _dictionary(value: Any, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    value = _literal(value) if isinstance(value, str) else value
    if not isinstance(value, dict):
        raise ValueError("not a dict")
    return {
        key: _convert(item, arguments[1] if arguments else type(item))
        for key, item in value.items()
    }


def _union(value: Any, members: tuple[Any, ...]) -> Any:
    if type(None) in members and value in (None, "None", "null"):
        return None
    problems = []
    for member in members:
        if member is not type(None):
            try:
                return _convert(value, member)
            except (ValueError, OverflowError) as error:
                problems.append(error)
    raise problems[0]


def _literal(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            continue
    raise ValueError("not a JSON or Python literal")


_CONVERTERS: dict[Any, Callable[[Any, tuple[Any, ...]], Any]] = {
    int: _integer,
    float: _real,
    bool: _boolean,
    str: _text,
    list: _list,
    dict: _dictionary,
    typing.Union: _union,
    types.UnionType: _union,
}


def _spelled(annotation: Any) -> str:
    """An annotation as it is written."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__name__
    return str(annotation)
