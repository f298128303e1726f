"""Small inputs that went wrong: see README.md."""

from pathlib import Path

CASES = Path(__file__).parent
