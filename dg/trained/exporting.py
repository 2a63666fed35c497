"""Writes a lifter into a file, and makes sure that nothing changed on the way. `dg.export` is its command line."""

from pathlib import Path

import numpy as np
import torch

from dg.files.atomic import write_file, write_json
from dg.files.checkpoint import CheckpointError
from dg.settings.errors import ConfigError
from dg.trained.description import LifterDescription
from dg.trained.options import stored_lifter
from dg.trained.settings import ExportOptions
from dg.trained.stored import StoredLifter
from dg.trained.writers import FORMATS, ExportedLifter

LARGEST_CHANGE = 1e-5  # of an output by the way through a file, metres; relative where outputs exceed one
_CHECKED_ROWS = (1, 64)


def export(options: ExportOptions) -> Path:
    """Write the file and its description. Raises ConfigError and CheckpointError; a failed export writes nothing."""
    stored = stored_lifter(options.checkpoint, options.published, options.weights, options.args)
    if stored.config.depth_bins:
        raise ConfigError(
            f"{stored.path} was trained with depth_bins={stored.config.depth_bins}, ordinal depth of the true joints: "
            "an oracle, of which a file for use elsewhere would be no good"
        )
    if stored.config.answers != "metres":
        raise ConfigError(
            f"{stored.path} was trained with answers={stored.config.answers}, which the true root brings to metres: an "
            "oracle, without which a file for use elsewhere would give no metres"
        )
    write, read = FORMATS[options.format]
    module = ExportedLifter(stored.lifter, stored.config.frames)
    description = LifterDescription.of_config(stored.config, made_from=stored.origin())
    document = description.document(stored.lifter.target_frames(stored.config.frames))
    data = write(module, document)
    _check_unchanged(stored, module, read(data))
    path = Path(options.out)
    write_json(path.with_name(f"{path.name}.json"), document)
    write_file(path, data)
    return path


@torch.no_grad()
def _check_unchanged(stored: StoredLifter, module: ExportedLifter, computes) -> None:  # noqa: ANN001
    for rows in _CHECKED_ROWS:
        x = module.example(rows)
        ours, theirs = module(x).numpy(), computes(x.numpy())
        if not np.isfinite(ours).all():
            raise CheckpointError(f"{stored.path}: its lifter gives numbers that are not finite; training has diverged")
        limit = LARGEST_CHANGE * max(1.0, float(np.abs(ours).max()))
        change = float(np.abs(ours - theirs).max())
        if not change <= limit:
            raise RuntimeError(f"the exported file changes outputs by {change:.3g} (limit {limit:.3g}); not written")
