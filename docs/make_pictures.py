"""The pictures of README and docs, made anew.

    dg train pool=local lifter.width=256 seed=0 epochs=8 evaluate_every=8 out=runs/sheet
    python docs/make_pictures.py augmented runs/sheet       docs/figures/augmented.png
    dg train method=erm inputs=xy lifter.width=256 pool=local seed=0 epochs=20 evaluate_every=20 out=runs/notebook
    python docs/make_pictures.py lifted runs/notebook       docs/figures/lifted.png
    python docs/make_pictures.py page runs/person           docs/figures/page.png; needs chromium and MediaPipe

`augmented` draws the first poses that the run's method proposes for poses of its training set, chosen by seed 0: none
is left out but those outside the frame.
"""

import io
import sys
from pathlib import Path

import torch
from PIL import Image

FIGURES = Path(__file__).parent / "figures"
POSES, COLUMNS, COLOURS = 8, 4, 128
POSE = 300  # of the data set's 1,600
SIZE = (1000, 1000)
PAGE = (1120, 700)  # of the browser window


def augmented(run: str) -> Image.Image:
    """Bodies of proposed poses with their 2D joints, and the depth maps that are read at them."""
    from dg.files.checkpoint import load_file
    from dg.methods.base import StepKey
    from dg.settings.command_line import check_plugins
    from dg.trained.stored import load_checkpoint
    from dg.training.build import make_method
    from dg.training.contact_sheet import contact_sheet
    from dg.training.problem import load_problem
    from dg.training.rendering import worker_spec
    from render_workers.base import RenderRequest

    stored = load_checkpoint(Path(run), "last")
    config = stored.config
    options = check_plugins(config)
    problem = load_problem(config, options)
    method = make_method(config, options, problem)
    method.load_state_dict(load_file(stored.path)["method"])
    order = torch.randperm(len(problem.train), generator=torch.Generator().manual_seed(0))[: 8 * POSES]
    source = problem.train.poses[order]
    proposed = method.propose(source.replace(depth=source.joints_3d[..., 2] - 0.1), StepKey(0, 0, 0))
    if proposed is None:
        raise SystemExit(f"{run}: this method proposes no poses")
    poses = proposed[proposed.valid][torch.arange(POSES)]
    worker = worker_spec(config).build()
    fitted = worker.body.fit(poses.joints_3d[:, 0], poses.skeleton)
    seen = worker.images(RenderRequest(fitted, poses.camera, poses.joints_2d[:, 0], torch.arange(POSES)))
    titles = [f"{z:.1f} m;" for z in poses.joints_3d[:, 0, poses.skeleton.root, 2].tolist()]
    rgb = seen["rgb"].transpose(0, 2, 3, 1)
    return contact_sheet(rgb, seen["depth"], seen["joints_px"], poses.skeleton, titles, columns=COLUMNS)


def lifted(run: str) -> Image.Image:
    """The pose of docs/api.md; prints the evaluation that stands there too."""
    import dg
    from dg.pose.camera import denormalise_pixels

    data, lifter = dg.load_data("synthetic"), dg.load_lifter(run)
    for where in (data, dg.load_data("synthetic:near")):
        print(lifter.evaluate(where))
    seen = data.poses.convert(lifter.skeleton)
    size = torch.tensor([[float(side) for side in SIZE]])
    pixels = denormalise_pixels(seen.joints_2d[:, 0], size.expand(len(data), 2))
    poses = lifter.lift(pixels, width=SIZE[0], height=SIZE[1])
    figure = dg.plot_pose(poses[POSE], seen.root_relative[POSE, 0], title="lifted; grey: the truth")
    return Image.open(io.BytesIO(figure._repr_png_()))


def page(folder: str) -> Image.Image:
    """The page of docs/predict.md: a rendered person, found by MediaPipe and lifted, as a browser shows it."""
    import subprocess

    from dg.predict.__main__ import main as predict
    from tests.images.photo_maker import photograph, two_people

    place = Path(folder).absolute()
    place.mkdir(parents=True, exist_ok=True)
    person = photograph(two_people()[:1] - torch.tensor([-0.5, 0.1, 1.2]), 640, 720, 640.0)
    Image.fromarray(person.rgb).save(place / "person.png")
    predict([f"{place}/person.png", "detector=mediapipe", f"out={place}/out", "device=cpu"])
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000"]
    shown = [
        f"--window-size={PAGE[0]},{PAGE[1]}",
        f"--screenshot={place}/page.png",
        f"file://{place}/out/person.png.html",
    ]
    subprocess.run(["chromium", *options, f"--user-data-dir={place}/profile", *shown], check=True, capture_output=True)
    return Image.open(place / "page.png")


def main(args: list[str]) -> None:
    """Make the pictures that the arguments name."""
    name, run = args
    picture = {"augmented": augmented, "lifted": lifted, "page": page}[name](run)
    # A palette: a third of the bytes, and no difference that the eye would see.
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(FIGURES / f"{name}.png", optimize=True)
    print(f"written to {FIGURES / name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
