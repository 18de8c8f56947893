"""Paths, and files written atomically: a reader sees the old file or the new one, never half."""

import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


def repository_root() -> Path:
    """The checkout: the folder around the package, or else one above the working directory.

    A checkout is a folder that holds ``uddm_lib`` and ``notebooks``.

    Raises:
        FileNotFoundError: if neither place is inside a checkout.
    """
    package, here = Path(__file__).resolve().parents[1], Path.cwd()
    for folder in (package.parent, here, *here.parents):
        if (folder / "uddm_lib").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(
        f"no folder with uddm_lib/ and notebooks/ around {package} or above {here}: "
        "install with pip install -e . or start in a checkout"
    )


def resolve(path: str | Path) -> Path:
    """``path`` as an absolute Path.

    A relative one starts at the repository root, or in the working directory where there is no
    checkout.
    """
    path = Path(path).expanduser()
    if path.is_absolute():
        return path
    try:
        return repository_root() / path
    except FileNotFoundError:
        return Path.cwd() / path


def atomic_write(path: str | Path, content: str | bytes) -> Path:
    """Write ``content`` (text as UTF-8, or bytes) to a temporary file, then rename it to ``path``.

    Missing parent folders are made. Returns the absolute Path.

    Raises:
        OSError: naming the file, if it cannot be written (full disk, read-only folder).
            An older file is then intact, and no temporary file stays.
    """
    path = resolve(path)
    write_in_order([(path, content.encode() if isinstance(content, str) else content)])
    return path


def write_in_order(contents: Sequence[tuple[Path, bytes]]) -> None:
    """Write pairs of absolute path and bytes, renamed in the order given.

    Every temporary file is complete before the first rename. A full disk therefore leaves all
    older files, which may be of use only together.
    """
    # Not the process id: on a shared file system two machines can have the same one.
    temporaries = [
        path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp") for path, _ in contents
    ]
    path = contents[0][0]
    try:
        for (path, data), temporary in zip(contents, temporaries):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for (path, _), temporary in zip(contents, temporaries):
            os.replace(temporary, path)
    except BaseException as error:
        for temporary in temporaries:
            with suppress(OSError):  # if the folder itself is gone, the first error says so
                temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def plain(value: Any) -> Any:
    """``value`` as JSON gives it back, so that it compares equal before and after the disk."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):  # NumPy and torch scalars
        return value.item()
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def to_json(value: object) -> str:
    """``value`` as indented JSON text with a final newline."""
    return json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n"


def read_json(path: Path, required: str) -> dict[str, Any]:
    """The dictionary in a JSON file.

    Raises:
        ValueError: naming the file, if it is not JSON or has no key ``required``.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is not valid JSON: truncated, or not by uddm_lib ({error})"
        ) from None
    if not isinstance(content, dict) or required not in content:
        raise ValueError(f"{path} has no {required!r}: not written by uddm_lib")
    return content
