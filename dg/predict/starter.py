"""The lifter that comes with the package, and what is known of it."""

import json
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).with_name("assets")
STARTER = ASSETS / "starter.pt"


def starter_facts() -> dict[str, Any]:
    """What `starter.json` tells: the command that made the lifter, its data and its errors, MPJPE in mm by test set."""
    return json.loads((ASSETS / "starter.json").read_text())


def starter_note() -> str:
    """What the reader of its answers should know, in a line."""
    facts = starter_facts()
    errors = ", ".join(f"{error:.0f} mm on {name}" for name, error in facts["mpjpe_mm"].items())
    return (
        f"no checkpoint= given: the starter lifter ({facts['what']}); mean joint error {errors}; on photographs it was "
        "not measured. A lifter of your own: docs/predict.md"
    )
