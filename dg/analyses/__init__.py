"""Analyses of trained checkpoints, as the papers make them. To add one: one file here and one line below; the contract
tests pick it up, and `python -m dg.analyse --help` shows the first line of its file.
"""

ANALYSES = {
    "occlusion": "dg.analyses.occlusion:Occlusion",
    "novelty": "dg.analyses.novelty:Novelty",
    "reliability": "dg.analyses.reliability:Reliability",
    "tail": "dg.analyses.tail:Tail",
    "viewpoints": "dg.analyses.viewpoints:Viewpoints",
    "ordinal_depth": "dg.analyses.ordinal_depth:OrdinalDepth",
    "box_rescaling": "dg.analyses.box_rescaling:BoxRescaling",
}
