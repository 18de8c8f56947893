"""Where paths that a user gives are looked up, and where packed text is kept."""

from pathlib import Path

from uddm_lib.results import repository_root

__all__ = ["cache_folder", "candidates", "find"]


def find(path: str | Path) -> Path | None:
    """The first of :func:`candidates` that exists, or None."""
    return next((candidate for candidate in candidates(path) if candidate.exists()), None)


def candidates(path: str | Path) -> list[Path]:
    """Absolute paths that a given path may mean: in the working directory, then in the checkout.

    A command line's paths start in the working directory. Those of notebooks and profiles start in
    the root of the repository, whatever folder a notebook runs in.
    """
    path = Path(path).expanduser()
    folders = [Path.cwd()]
    if (root := _checkout()) is not None and root != Path.cwd():
        folders.append(root)
    return [path] if path.is_absolute() else [folder / path for folder in folders]


def cache_folder(cache: str | Path | None) -> Path:
    """The folder that keeps packed text, as an absolute path; it need not exist.

    By default ``runs/cache`` in a checkout, elsewhere a folder in the hub's cache for assets. The
    latter follows the environment variables ``HF_HOME`` and ``HF_ASSETS_CACHE``.
    """
    root = _checkout()
    if cache is not None:
        return (root or Path.cwd()) / Path(cache).expanduser()
    if root is not None:
        return root / "runs" / "cache"
    # The hub's own function for this, cached_assets_path, makes the folder, which fails in a
    # read-only home.
    from huggingface_hub.constants import HF_ASSETS_CACHE

    return Path(HF_ASSETS_CACHE, "uddm_lib", "default", "packed").expanduser().absolute()


def _checkout() -> Path | None:
    """The root of the repository, or None outside a checkout."""
    try:
        return repository_root()
    except FileNotFoundError:
        return None
