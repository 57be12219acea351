"""Where a test fails: which share of the long loops ran."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import share  # noqa: E402


def pytest_terminal_summary(terminalreporter):
    if terminalreporter.stats.get("failed"):
        terminalreporter.write_line(f"share: INGOT_SHARE={share.SHARE} INGOT_SEED={share.SEED} tries the same cases")
