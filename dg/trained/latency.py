"""`dg latency [key=value ...]`: milliseconds of each stage from a photograph to 3D joints on this machine.

AugLift, appendix F.1: what depth costs beside the detector and the lifter. One image, one person, one at a time.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dg.images.settings import IMAGE_DEPTH, DetectorNetworks, DetectorOptions
from dg.settings.command import Command
from dg.settings.config import Count, CountOrZero, Device
from dg.settings.errors import DATA, RESOURCES
from dg.settings.reader import read

Stage = Literal["detector", "depth", "descriptor", "lifter"]
STAGES: tuple[Stage, ...] = ("detector", "depth", "descriptor", "lifter")
SIDE_PX = 1000  # of the picture where none is given: Human3.6M's
WARM_UP = 3


@dataclass(frozen=True)
class LatencyOptions:
    """What is timed, and how often."""

    # -- what is timed
    stages: tuple[Stage, ...] = STAGES  # those that are run; the networks of the others need not be there
    image: str = ""  # picture with a person; empty: noise of 1000 x 1000 px, in which nobody is found
    repeat: Count = 20  # times each stage is run, after three that do not count
    # -- the networks
    detector: DetectorNetworks = field(default_factory=DetectorNetworks)
    depth: dict[str, Any] = field(default_factory=lambda: {"name": IMAGE_DEPTH})  # network; depth.OPTION=VALUE
    lifter: dict[str, Any] = field(default_factory=lambda: {"name": "motion_bert"})  # lifter; lifter.OPTION=VALUE
    inputs: str = "uadd"  # what the lifter sees
    frames: int = 27  # length of its windows
    # -- where it runs
    device: Device = "auto"
    threads: CountOrZero = 0  # torch threads; 0: torch's own choice


COMMAND = Command(
    name="latency",
    about="""Print the milliseconds of each stage on this machine: people and their joints, depth, descriptor, lifter.

Each stage runs by itself on one picture and one person, after three runs that do not count. What is timed is the call
alone: reading the picture and loading networks are left out.""",
    settings=LatencyOptions,
    codes=(RESOURCES, DATA),
    examples=(
        "dg latency image=photo.jpg",
        "dg latency stages=[descriptor,lifter] lifter=pose_former frames=9 threads=1",
    ),
)


@dataclass(frozen=True)
class Timing:
    """How long the runs of a stage took, milliseconds.

    Attributes:
        what: the networks of the stage.
    """

    stage: str
    what: str
    milliseconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.milliseconds)

    @property
    def slow(self) -> float:
        """The one that nine tenths do not exceed."""
        return sorted(self.milliseconds)[min(len(self.milliseconds) - 1, round(0.9 * len(self.milliseconds)))]


@COMMAND.main
def main(args: list[str]) -> int:
    """The whole command; returns the exit code."""
    options = read(LatencyOptions, args)
    from dg.compare.sheets import Sheet, to_markdown

    timings = measure(options)
    lines = [[t.stage, t.what, f"{t.median:.1f}", f"{t.slow:.1f}"] for t in timings]
    total = sum(t.median for t in timings)
    if len(timings) > 1:
        lines.append(["together", "", f"{total:.1f}", ""])
    sheet = Sheet.of(f"Latency on {_machine(options)}", ["stage", "what", "median ms", "90 % ms"], lines, 2)
    print(to_markdown([sheet]), end="")
    return 0


def measure(options: LatencyOptions) -> list[Timing]:
    """Time the stages that are asked for, in their order.

    Raises:
        ConfigError: an unknown lifter or network, or options that do not fit it.
        DepthCheckpointError: a network that is not there.
        ImageError: a picture that cannot be read.
    """
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    makers = {"detector": _detector, "depth": _depth, "descriptor": _descriptor, "lifter": _lifter}
    found = []
    for stage in (name for name in STAGES if name in options.stages):
        what, call = makers[stage](options, device)
        found.append(Timing(stage, what, timed(call, options.repeat, device.type == "cuda")))
    return found


def timed(call: Callable[[], object], repeat: int, on_gpu: bool = False) -> tuple[float, ...]:
    """Run a call several times and return how long each took, milliseconds.

    Args:
        call: what is run.
        repeat: how often, after some runs that do not count.
        on_gpu: wait for the GPU before and after each.
    """
    import torch

    found = []
    for number in range(WARM_UP + repeat):
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if on_gpu:
            torch.cuda.synchronize()
        if number >= WARM_UP:
            found.append(1000 * (time.perf_counter() - start))
    return tuple(found)


def _picture(options: LatencyOptions) -> Any:  # noqa: ANN401 - an array; numpy is imported late
    import numpy as np

    if not options.image:
        return np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    from dg.images.reading import read_image

    return read_image(Path(options.image))


def _detector(options: LatencyOptions, device: Any) -> tuple[str, Callable[[], object]]:  # noqa: ANN401
    from dg.images.detector import PersonPoseDetector

    detector = PersonPoseDetector(DetectorOptions(**asdict(options.detector), device=options.device))
    image = _picture(options)
    people = len(detector([image])[0])
    names = f"{Path(options.detector.detector).name}, {Path(options.detector.pose).name}"
    seen = f"{people} people" if people else "nobody seen: boxes alone"
    return f"{names} ({seen})", lambda: detector([image])


def _depth(options: LatencyOptions, device: Any) -> tuple[str, Callable[[], object]]:  # noqa: ANN401
    import torch

    from dg.images.depth_choice import choose_depth

    choice = choose_depth(options.depth)
    source = choice.load()
    rgb = torch.from_numpy(_picture(options).copy()).to(device).permute(2, 0, 1)[None].float() / 255
    return choice.facts().checkpoint, lambda: source.estimate_images(rgb)


def _descriptor(options: LatencyOptions, device: Any) -> tuple[str, Callable[[], object]]:  # noqa: ANN401
    """On the CPU, where depth comes home; seventeen joints of middling confidence."""
    import numpy as np

    from dg.images.joint_depth import joint_depths
    from dg.pose.uadd import RadiusLaw

    height, width = _picture(options).shape[:2]
    rng = np.random.default_rng(0)
    depth = rng.uniform(2, 8, (height, width)).astype(np.float32)
    joints = (rng.uniform(0.3, 0.7, (17, 2)) * [width, height]).astype(np.float32)
    confidence, law = np.full(17, 0.5, np.float32), RadiusLaw()
    return "17 joints", lambda: joint_depths(depth, joints, confidence, law, height / 4)


def _lifter(options: LatencyOptions, device: Any) -> tuple[str, Callable[[], object]]:  # noqa: ANN401
    import torch

    from dg.pose.skeleton import H36M_17
    from dg.settings.command_line import check_plugins, parse
    from dg.training.build import inputs_of, make_lifter, options_for_windows

    chosen = dict(options.lifter)
    name = chosen.pop("name", "motion_bert")
    words = [f"lifter={name}", *(f"lifter.{key}={value}" for key, value in chosen.items())]
    config = parse([*words, f"inputs={options.inputs}", f"frames={options.frames}", "dscale2d=off"])
    inputs = inputs_of(config)
    lifter = make_lifter(config, options_for_windows(config, check_plugins(config)["lifter"]), H36M_17, inputs)
    lifter = lifter.to(device).eval()
    seen = torch.zeros(1, options.frames, len(H36M_17), inputs.size, device=device)

    def lift() -> object:
        with torch.no_grad():
            return lifter(seen)

    size = sum(parameter.numel() for parameter in lifter.parameters())
    return f"{name}, {options.frames} frames, {options.inputs}, {size / 1e6:.1f} M parameters", lift


def _machine(options: LatencyOptions) -> str:
    import torch

    if options.device != "cpu" and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    return f"CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
