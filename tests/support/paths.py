"""Where the tests find what they read."""

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
CASES = TESTS / "cases"
PUBLISHED = TESTS / "published"
STRESS = TESTS / "stress"
NOTEBOOKS = ROOT / "notebooks"
