"""Photographs: each is lifted by itself, or a folder of them as one clip of one person."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from dg.drawing.figures import png_bytes
from dg.files.atomic import write_file, write_json
from dg.images.reading import ImageError, find_images
from dg.predict.arrays import PeopleArrays
from dg.predict.document import image_document
from dg.predict.lifter_inputs import ImageInputs, LiftedPerson
from dg.predict.page import page_of, viewer_frames
from dg.predict.picture import DOTS_PER_INCH, draw_picture
from dg.predict.predictor import ImagePredictor
from dg.predict.rerun_file import RECORDING, write_rerun
from dg.predict.tally import PAGE, PICTURE, Say, Tally, caption, notes

ARRAYS = "people.npz"


def lift_photographs(predictor: ImagePredictor, say: Say, tally: Tally) -> dict[str, Any]:
    """Lift the people in every image and write the files of each.

    Args:
        predictor: with the options of the command.
        say: prints a line.
        tally: counts what became of the images.

    Returns:
        How the results were made, for the summary.

    Raises:
        ImageError: where no image can be read.
    """
    options = predictor.options
    root, out = Path(options.images), Path(options.out)
    paths = photographs(root)
    made_with = predictor.made_with()
    windows = predictor.stored.config.frames
    for line in notes(predictor):
        say(line)
    if windows > 1 and not options.sequence:
        say(
            f"the lifter sees windows of {windows} frames: each image is shown to it as a person who stands "
            "still; sequence=true people=best takes a folder's images as one clip"
        )
    arrays = PeopleArrays(predictor.skeleton)
    found = _read(predictor, root, paths, tally, say)
    for images in filter(None, [list(found)]) if options.sequence else ([image] for image in found):
        for image, people in _lifted(predictor, images):
            _write(predictor, image, people, out, made_with)
            arrays.add(image, people)
            tally.count(image, people, say)
    if not tally.images:
        reason = next(iter(tally.unreadable.values()))
        raise ImageError(f"none of the {len(paths)} images can be read, for example {reason}")
    if options.npz:
        arrays.write(out / ARRAYS)
    return made_with


def photographs(root: Path) -> list[Path]:
    """The images of a path but those that this command wrote. Raises ImageError where there is none."""
    paths = [p for p in find_images(root) if not p.name.endswith(PICTURE)]
    if not paths:
        raise ImageError(f"{root}: no images in this folder or below it")
    return paths


def _read(
    predictor: ImagePredictor, root: Path, paths: Sequence[Path], tally: Tally, say: Say
) -> Iterator[ImageInputs]:
    base = root if root.is_dir() else root.parent
    for path in paths:
        name = path.relative_to(base)
        try:
            yield predictor.inputs_of(path, name)
        except ImageError as error:
            tally.unreadable[str(name)] = str(error)
            say(f"  left out: {error}")


def _lifted(
    predictor: ImagePredictor, images: Sequence[ImageInputs]
) -> Iterator[tuple[ImageInputs, list[LiftedPerson]]]:
    """The images with their people lifted; an image without people ends a clip."""
    people, cameras, clip = [], [], []
    number = 0
    for image in images:
        for person in image.people:
            people.append(person)
            cameras.append(image.camera)
            clip.append(number)
            number += 0 if predictor.options.sequence else 1
        number += 0 if image.people else 1
    lifted = iter(predictor.lifter(people, cameras, torch.tensor(clip, dtype=torch.long)))
    for image in images:
        yield image, [next(lifted) for _ in image.people]


def _write(
    predictor: ImagePredictor, image: ImageInputs, people: Sequence[LiftedPerson], out: Path, made_with: dict[str, Any]
) -> None:
    place, options = out / image.name, predictor.options
    skeleton = predictor.skeleton
    document = image_document(image, people, skeleton, made_with)
    write_json(place.with_name(f"{place.name}.json"), document, allow_nan=False)
    said = caption(predictor, image.camera)
    if options.picture:
        drawn = png_bytes(draw_picture(image, people, skeleton, said), DOTS_PER_INCH)
        write_file(place.with_name(f"{place.name}{PICTURE}"), drawn)
    if options.page:
        page = page_of([(image, people)], skeleton, str(image.name), said)
        write_file(place.with_name(f"{place.name}{PAGE}"), page)
    if options.rerun:
        write_rerun(place.with_name(f"{place.name}{RECORDING}"), viewer_frames([(image, people)]), skeleton)
