"""Motion brittleness: what reversed clips and clips at other speeds do to lifters that see more and more frames.

The question of AugLift's Table 9 (Appendix D). Takes the lifters of `dg study frames` from their folder, evaluates each
on clips as recorded, reversed, and every clip at a speed drawn uniformly from [0.5, 2] (the paper does not say its
law), and ends in motion.md, motion.csv and motion.png in that folder and in its MLflow run. The same command again does
only what is left. Published, VideoPose3D with ground-truth 2D on Human3.6M at 1, 27, 81, 243 frames: validation 39.8,
39.3, 38.6, 37.1 mm, reversed 39.8, 41.3, 40.9, 39.5, at varying speed 39.8, 49.6, 50.4, 49.3 (Table 9).

Between recorded frames 3D joints are interpolated linearly and 2D is projected from them; depth is drawn anew from the
ground truth (an oracle). A clip counts as much at any speed as it does as recorded. Protocol ids end in /time=reversed
or /time=speeds-SLOWEST-FASTEST-seedSEED; those of clips as recorded say nothing of time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dg.settings.reader import read
from dg.study.base import Study
from dg.study.motion_options import MotionOptions
from dg.study.results import conclude, frame_of, protocols, table, twins
from dg.tracking.names import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from pandas import DataFrame


class Motion(Study):
    """See the module's docstring."""

    Options: ClassVar[type[Any]] = MotionOptions
    takes_train_keys: ClassVar[bool] = False

    def run(self, args: Sequence[str]) -> int:
        """Evaluate the trained lifters on clips in changed time and write the tables."""
        from dg.study.motion_session import MotionSession

        options = parse(args)
        with MotionSession(options, Path(options.out)) as session:
            session.run()
        frame = frame_of(session.rows())
        better = "higher" if options.metric in HIGHER_IS_BETTER else "lower"
        title = f"{options.metric} of clips in another time, weights {options.weights}"
        sheets = [table(title, frame, [f"mean ± standard deviation (seeds), {better} is better", *protocols(frame)])]
        changes = changes_of(frame, session.recorded)
        if not changes.empty:
            heading = f"Change of {options.metric} against the clips as recorded, seed by seed"
            sheets.append(table(heading, changes, ["mean ± standard deviation (seeds)"]))
        conclude("motion", title, session.place, sheets, frame, options.metric)
        return 0


def parse(args: Sequence[str]) -> MotionOptions:
    """Raises ConfigError for keys and values that do not exist."""
    return read(MotionOptions, args)


def changes_of(frame: "DataFrame", recorded: str) -> "DataFrame":
    """Each changed time's errors less those of the clips as recorded, seed by seed."""
    pairs = twins(frame, "time", recorded)
    # To six digits: below that, rounding errors have signs.
    pairs["error"] = (pairs["error"] - pairs.pop("there")).round(6) + 0.0
    return frame_of(pairs)
