"""What test-time augmentation may be called. Loads no torch."""

from typing import Literal

Tta = Literal["none", "flip", "reverse", "flip+reverse"]
