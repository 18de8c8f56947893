"""Where a profile's files are: names relative to the repository root, as Snakemake sees them."""

from pathlib import Path

from uddm_lib.results import repository_root

PROFILES = "runs"
SCHEMA = f"{PROFILES}/profile.schema.yaml"
_TAKEN = ("cache", "pretrained", "profiles")  # folders in runs/ that hold no sweep


def checkout() -> Path:
    """The repository root.

    Raises:
        FileNotFoundError: outside a checkout; the message says that the command needs one.
    """
    try:
        return repository_root()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"this command needs a checkout of the repository, with its runs/: {error}"
        ) from None


def check_name(profile: str) -> None:
    """Check that ``profile`` can name a sweep's files and folders.

    Raises:
        ValueError: saying what is allowed.
    """
    if Path(profile).name != profile or profile.startswith("-") or set("{}") & set(profile):
        raise ValueError(
            f"profile {profile!r}: the name of a file runs/NAME.yaml without .yaml, which begins "
            "with no hyphen and has no braces"
        )
    if profile in _TAKEN:
        raise ValueError(f"profile {profile!r}: runs/{profile}/ is in use; choose another name")


def profile_file(profile: str) -> str:
    """The YAML file of ``profile``."""
    return f"{PROFILES}/{profile}.yaml"


def derived_profile(profile: str) -> str:
    """The YAML file of a ``profile`` that the command ``reproduce`` made, among its results."""
    return f"{results_folder(profile)}/profile.yaml"


def profile_names(root: Path) -> list[str]:
    """The profiles of the checkout ``root``."""
    files = (root / PROFILES).glob("*.yaml")
    return sorted(file.stem for file in files if not file.name.endswith(".schema.yaml"))


def results_folder(profile: str) -> str:
    """The folder of a profile's runs."""
    return f"{PROFILES}/{profile}"


def figures_folder(profile: str) -> str:
    """The folder of a profile's figures."""
    return f"paper_figures/{profile}"
