"""Profiles: what ``runs/<profile>.yaml`` asks for, checked before anything starts."""

import re
from pathlib import Path
from typing import Any

import yaml

from uddm_lib.sweep import paths


class SweepError(ValueError):
    """A sweep that cannot start; the message says why, and what to do."""


class ProfileError(SweepError):
    """A profile that cannot be run; the message says what is wrong and what is allowed."""


class _Loader(yaml.SafeLoader):
    """YAML whose numbers may be written as ``1e-3``, as YAML 1.2 has it; to PyYAML that is text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_profile(profile: str, root: Path) -> dict[str, Any]:
    """The content of a profile in the checkout ``root``, checked against the schema of profiles.

    Raises:
        ProfileError: if there is no such profile, or it is no valid YAML, or a key or a value in it
            is not allowed.
    """
    try:
        import fastjsonschema  # not jsonschema, which takes a second to import
    except ModuleNotFoundError:
        raise ProfileError(
            "the sweep needs further packages: pip install 'uddm-companion[sweep]'"
        ) from None

    path = root / paths.profile_file(profile)
    if (derived := root / paths.derived_profile(profile)).is_file() and not path.is_file():
        path = derived
    if not path.is_file():
        raise ProfileError(
            f"no profile {profile!r} ({paths.profile_file(profile)}); "
            f"there are {', '.join(paths.profile_names(root))}"
        )
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ProfileError(f"{paths.profile_file(profile)} is not valid YAML: {error}") from None
    schema = yaml.safe_load((root / paths.SCHEMA).read_text(encoding="utf-8"))
    try:
        fastjsonschema.validate(schema, content)
    except fastjsonschema.JsonSchemaValueException as error:
        message = _message(error, paths.profile_file(profile), content, schema)
        raise ProfileError(message) from None
    valid: dict[str, Any] = content
    return valid


def _message(error: Any, place: str, content: Any, schema: dict[str, Any]) -> str:
    """One sentence on a schema error: the place, the key, its value, and what is allowed."""
    steps = error.path[1:]
    if steps[:1] == ["experiments"] and len(steps) > 1:
        index = int(steps[1])
        place, steps = f"{place}, experiment {index + 1}", steps[2:]
        content, schema = content["experiments"][index], schema["definitions"]["experiment"]
    if steps:
        key = steps[0]
        described = schema["properties"][key]
        return f"{place}: {key} must be {_description(described, error)}; got {content[key]!r}"
    if error.rule == "required":
        return (
            f"{place} has no {', '.join(key for key in schema['required'] if key not in content)}"
        )
    if error.rule == "additionalProperties":
        unknown = ", ".join(repr(key) for key in content if key not in schema["properties"])
        return f"{place}: unknown key {unknown}; allowed: {', '.join(schema['properties'])}"
    if error.rule == "type":
        keys = ", ".join(schema["properties"])
        return f"{place} must be {schema['description']} with the keys {keys}"
    return f"{place}: {error.definition['description']}"


def _description(described: dict[str, Any], error: Any) -> str:
    return str(described.get("description") or error.definition["description"])
