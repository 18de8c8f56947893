"""Paths, and files that are written atomically: readers see the old file or the new one, never half of one."""

import json
import os
from pathlib import Path


def repository_root():
    """The folder that holds ``uddm_lib`` and ``notebooks``: around the package, else above the current one.

    Raises:
        FileNotFoundError: if neither is inside a checkout of the repository.
    """
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[1], here, *here.parents):
        if (folder / "uddm_lib").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(
        f"no folder with uddm_lib/ and notebooks/ around {Path(__file__).parent} "
        f"or above {here}: install with pip install -e . or start in a checkout"
    )


def resolve(path):
    """``path`` as an absolute Path; a relative one is taken from the repository root."""
    path = Path(path).expanduser()
    return path if path.is_absolute() else repository_root() / path


def atomic_write(path, content):
    """Write ``content`` (str as UTF-8, or bytes) to ``path`` through a temporary file beside it, then rename.

    Missing parent folders are made. Returns the absolute Path.

    Raises:
        OSError: naming the file, when it cannot be written (full disk, read-only folder). An older file is
            then intact and no temporary file stays.
    """
    return write_together(
        {resolve(path): content.encode() if isinstance(content, str) else content}
    )[0]


def write_together(contents):
    """Write files (absolute Path -> bytes), all temporary ones before the first takes its name: a full disk then
    leaves all of the older ones, which may only be of use together. Returns their paths."""
    written = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in contents}
    try:
        for path, temporary in written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(contents[path])
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in written.items():
            os.replace(temporary, path)
    except BaseException as error:
        for temporary in written.values():
            try:
                temporary.unlink(missing_ok=True)
            except OSError:
                pass  # the folder itself is gone or unreadable: the first error says what is wrong
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    return list(written)


def plain(value):
    """``value`` as JSON would give it back, so that parameters compare equal before and after the disk."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "item"):  # NumPy and torch scalars
        return value.item()
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def to_json(value):
    return json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n"


def read_json(path, holds):
    """The dictionary in ``path``; a file that is not one with the key ``holds`` is an error that names it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is not valid JSON: truncated, or not by uddm_lib ({error})"
        ) from None
    if not isinstance(content, dict) or holds not in content:
        raise ValueError(f"{path} has no {holds!r}: not written by uddm_lib")
    return content
