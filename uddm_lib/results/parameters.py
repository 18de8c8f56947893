"""Parameters of a notebook as Papermill passes them, checked against what the notebook declares."""

import ast
import difflib
import json
import math
import types
import typing

__all__ = ["check_parameters"]

_LITERALS = (str, int, float, bool, list, dict, tuple, type(None))


def _literal(text):
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            continue
    raise ValueError("not a JSON or Python literal")


def _number(value, kind):
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("not a number")
    try:
        number = int(value) if kind is int and isinstance(value, str) else value
    except ValueError:
        number = float(value)  # "1e4" for an integer
    number = number if isinstance(number, int) and kind is int else float(number)
    if not math.isfinite(number):
        raise ValueError("not finite")
    if kind is int and number != int(number):
        raise ValueError("not a whole number")
    return kind(number)


def _bool(value):
    words = {"true": True, "false": False, "1": True, "0": False}
    if isinstance(value, (bool, int, str)) and str(value).lower() in words:
        return words[str(value).lower()]
    raise ValueError("not true or false")


def _convert(value, kind):
    """``value`` as declared type ``kind``; ValueError when that would lose or invent something."""
    origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value in (None, "None", "null") and type(None) in arguments:
            return None
        return _convert(
            value, next(argument for argument in arguments if argument is not type(None))
        )
    if origin in (int, float):
        return _number(value, origin)
    if origin is bool:
        return _bool(value)
    if origin in (list, dict):
        value = _literal(value) if isinstance(value, str) else value
        if origin is list and isinstance(value, (list, tuple)):
            return [_convert(item, arguments[0] if arguments else type(item)) for item in value]
        if origin is dict and isinstance(value, dict):
            return {
                key: _convert(item, arguments[1] if arguments else type(item))
                for key, item in value.items()
            }
    if origin is str and not isinstance(value, str):
        raise ValueError("not text; Papermill's -r passes a value as text")
    if not isinstance(value, origin):
        raise ValueError(f"not a {origin.__name__}")
    return value


def unknown_names(unknown, allowed):
    """The message about ``unknown`` parameter names: each with its closest match, then the allowed ones."""
    hints = []
    for name in unknown:
        close = difflib.get_close_matches(name, allowed, 1)
        hints.append(f"{name} (did you mean {close[0]}?)" if close else name)
    return f"unknown parameter {', '.join(hints)}; allowed: {', '.join(allowed)}"


def check_parameters(namespace):
    """Check and convert a notebook's parameters; called with ``globals()`` after the ``parameters`` cell.

    Parameters are the annotated names (``n: int = 64``) of ``namespace``. Papermill passes loosely typed
    values (``1e4`` for an int, ``"[1, 2]"`` for a list): they are converted in place to the declared types
    (int, float, bool, str, list[...], dict[...], ``... | None``), never silently truncated. Other names with
    plain values can only be parameters that the notebook does not have. That is looked at on the first call
    in a namespace: later, in Jupyter, it also holds the notebook's own variables.

    Raises:
        ValueError: naming each unknown parameter with the allowed names, or each wrong value with its
            declared type; the namespace is unchanged then.
    """
    declared = namespace.get("__annotations__", {})
    unknown = [
        name
        for name, value in namespace.items()
        if type(value) in _LITERALS
        and name not in declared
        and not name.startswith("_")
        and name not in ("In", "Out", "exit", "quit", "open")
    ]
    if unknown and not namespace.get("_parameters_checked"):
        raise ValueError(unknown_names(unknown, declared))
    values, problems = {}, []
    for name, kind in declared.items():
        try:
            values[name] = _convert(namespace[name], kind)
        except (ValueError, OverflowError) as error:
            spelled = (
                kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind)
            )
            problems.append(f"{name}={namespace[name]!r}: {error}, expected {spelled}")
    if problems:
        raise ValueError("; ".join(problems))
    namespace.update(values, _parameters_checked=True)
