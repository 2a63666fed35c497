"""Studies: one question each, answered by many runs in one command. To add one: one file here, which loads no torch
when it is imported, and one line below; `dg study NAME --help` shows the file's own words.
"""

STUDIES = {
    "frames": "dg.study.frames:Frames",
    "motion": "dg.study.motion:Motion",
    "noise": "dg.study.noise:Noise",
    "shifts": "dg.study.shifts:Shifts",
}
