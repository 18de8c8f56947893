"""Where the checkout and its reference vectors are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden"  # its README.md says what they are
FAMILIES = ROOT.parent / "shared" / "families"  # on developers' machines and in CI alone
