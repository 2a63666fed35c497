"""The lifter that comes with the package, from the run that trained it.

The two runs, of one thread each (6 and 1.5 processor minutes on 2 cores of an AMD EPYC), from the root of the project:

    COMMON="data=h36m data.label=cmu data.root=CMU data.stride=5 inputs=xy dscale2d=box skeleton=h36m_17
        lifter.width=256 lifter.dropout=0 batch_size=512 pool=local threads=1 device=cpu seed=0 method=random_camera"
    dg train $COMMON epochs=135 evaluate_every=45 out=runs/starter-1
        'method.hips=[0.9,1.5]' 'method.shoulders=[1.0,1.6]'
    dg train $COMMON epochs=25 evaluate_every=25 lr=0.0003 init_from=runs/starter-1/best.pt out=runs/starter
        'targets=["npz:CROSS/cmu_h36m.npz","npz:CROSS/cmu_3dhp.npz","npz:CROSS/cmu_3dpw.npz",
                  "npz:CROSS/uiprmd_h36m.npz","npz:CROSS/uiprmd_3dhp.npz","npz:CROSS/uiprmd_3dpw.npz"]'
    python docs/make_starter.py runs/starter

CMU is the folder with the motion of mocap.cs.cmu.edu in Human3.6M's file format (`data_3d_h36m.npz`), CROSS the one
with the test sets of docs/results.md. Neither is part of the project. Weights of the last step; no test set chose
anything.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from dg.files.checkpoint import load_file, save_file
from dg.predict.starter import ASSETS, STARTER
from dg.settings.config import TrainConfig
from dg.trained.places import without_places

WHAT = "256 wide, single frames, xy, trained on CMU motion seen by random cameras with a detector's errors"


def main(args: list[str]) -> None:
    """Write the assets of a run: its weights without the places of its configuration, and its errors."""
    run = Path(args[0])
    state = load_file(run / "best.pt")
    config = TrainConfig.from_plain(state["config"])
    plain = TrainConfig()
    data = {key: value for key, value in config.data.items() if key != "root"} | {"root": "CMU"}
    config = replace(
        without_places(config), data=data, targets=plain.targets, init_from="", out="", tracking=plain.tracking
    )
    ASSETS.mkdir(exist_ok=True)
    save_file(STARTER, {**state, "config": config.plain()})
    results = json.loads((run / "summary.json").read_text())["results"]
    last = {result["target"]: round(result["mpjpe_mm"], 1) for result in results if result["selection"] == "last"}
    facts = {"what": WHAT, "made_by": "docs/make_starter.py", "data": "CMU, mocap.cs.cmu.edu", "mpjpe_mm": last}
    (ASSETS / "starter.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(f"{STARTER}: {STARTER.stat().st_size / 1e6:.2f} MB; {last}")


if __name__ == "__main__":
    main(sys.argv[1:])
