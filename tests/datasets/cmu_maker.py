"""Small ASF and AMC files: two performers of CMU's bones who bend their knees and arms, hips and backs."""

import gzip

import numpy as np

PARENTS = {
    **{f"{s}hipjoint": "root" for s in "lr"},
    "lowerback": "root",
    **{f"{s}{b}": f"{s}{p}" for s in "lr" for b, p in (("femur", "hipjoint"), ("tibia", "femur"), ("foot", "tibia"))},
    "upperback": "lowerback",
    "thorax": "upperback",
    "lowerneck": "thorax",
    "upperneck": "lowerneck",
    "head": "upperneck",
    **{f"{s}clavicle": "thorax" for s in "lr"},
    **{
        f"{s}{b}": f"{s}{p}"
        for s in "lr"
        for b, p in (("humerus", "clavicle"), ("radius", "humerus"), ("wrist", "radius"), ("hand", "wrist"))
    },
}
# Bone -> direction for the left side (x mirrored for the right), length in the file's unit, axes, degrees of freedom.
SHAPES = {
    "hipjoint": ((0.65, -0.71, 0.25), 2.5, (0, 0, 0), ""),
    "femur": ((0.34, -0.94, 0.0), 7.6, (0, 0, 20), "rx ry rz"),
    "tibia": ((0.34, -0.94, 0.0), 7.2, (0, 0, 20), "rx"),
    "foot": ((0.09, -0.24, 0.97), 2.2, (-90, 0, 20), "rx rz"),
    "lowerback": ((0, 1, 0), 2.06, (0, 0, 0), "rx ry rz"),
    "upperback": ((0, 1, 0), 2.07, (0, 0, 0), "rx ry rz"),
    "thorax": ((0, 1, 0), 2.07, (0, 0, 0), "rx ry rz"),
    "lowerneck": ((0, 1, 0.1), 1.57, (0, 0, 0), "rx ry rz"),
    "upperneck": ((0, 1, -0.1), 1.56, (0, 0, 0), "rx ry rz"),
    "head": ((0, 1, 0), 1.63, (0, 0, 0), "rx ry rz"),
    "clavicle": ((0.97, 0.25, -0.05), 3.6, (0, 0, 0), "ry rz"),
    "humerus": ((1, 0, 0), 4.9, (180, -30, -90), "rx ry rz"),
    "radius": ((1, 0, 0), 3.36, (180, -30, -90), "rx"),
    "wrist": ((1, 0, 0), 1.68, (0, 90, 90), "ry"),
    "hand": ((1, 0, 0), 0.7, (0, 90, 90), "rx rz"),
}


def shape_of(bone: str) -> tuple:
    if bone in SHAPES:
        return SHAPES[bone]
    (x, y, z), length, (a, b, c), dof = SHAPES[bone[1:]]
    return ((x, y, z), length, (a, b, c), dof) if bone[0] == "l" else ((-x, y, z), length, (a, -b, -c), dof)


def asf(scale: float = 1.0) -> str:
    lines = [
        ":version 1.10",
        ":units",
        "  mass 1.0",
        "  length 0.45",
        "  angle deg",
        ":root",
        "   order TX TY TZ RX RY RZ",
    ]
    lines += ["   axis XYZ", "   position 0 0 0", "   orientation 0 0 0", ":bonedata"]
    for number, bone in enumerate(PARENTS, 1):
        direction, length, axes, dof = shape_of(bone)
        unit = np.array(direction) / np.linalg.norm(direction)
        lines += ["  begin", f"     id {number}", f"     name {bone}", "     direction {} {} {}".format(*unit)]
        lines += [f"     length {length * scale}", "     axis {} {} {}  XYZ".format(*axes)]
        lines += [f"    dof {dof}", "    limits (-180.0 180.0)"] if dof else []
        lines.append("  end")
    lines += [":hierarchy", "  begin"]
    for parent in dict.fromkeys(PARENTS.values()):
        lines.append(f"    {parent} " + " ".join(b for b, p in PARENTS.items() if p == parent))
    return "\n".join([*lines, "  end", ""])


def amc(phase: float, frames: int = 24) -> str:
    lines = ["#!OML:ASF somewhere", ":FULLY-SPECIFIED", ":DEGREES"]
    for frame in range(frames):
        swing = np.sin(phase + frame / 6)
        lines += [str(frame + 1), f"root {0.1 * frame} {17 + 0.5 * swing} 3 {5 * swing} {40 * phase} {3 * swing}"]
        for bone in PARENTS:
            dof = shape_of(bone)[3].split()
            angles = [8 * swing * (-1) ** i for i in range(len(dof))]
            if bone.endswith("tibia"):
                angles = [50 + 20 * swing]
            if bone.endswith("femur"):
                angles[0] = -30 - 15 * swing
            if dof:
                lines.append(" ".join([bone, *(f"{a:.4f}" for a in angles)]))
    return "\n".join([*lines, ""])


def write_cmu(folder, performers=("07", "16", "35"), motions: int = 2) -> None:
    for number, performer in enumerate(performers):
        (folder / f"{performer}.asf").write_text(asf(1 + 0.05 * number))
        for motion in range(motions):
            name, text = f"{performer}_{motion + 1:02d}.amc", amc(number + motion / 3)
            if motion % 2:
                (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
            else:
                (folder / name).write_text(text)


def make_cmu(folder) -> dict:
    write_cmu(folder)
    return {"root": str(folder), "subjects_train": ("07", "16")}
