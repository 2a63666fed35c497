"""Analyses of trained checkpoints, as the papers make them. To add one: one file here and one line below; the contract
tests pick it up, and `dg analyse --help` shows the first line of its file.
"""

ANALYSES = {
    "occlusion": "dg.analyse.occlusion:Occlusion",
    "novelty": "dg.analyse.novelty:Novelty",
    "reliability": "dg.analyse.reliability:Reliability",
    "tail": "dg.analyse.tail:Tail",
    "viewpoints": "dg.analyse.viewpoints:Viewpoints",
    "placement": "dg.analyse.placement:Placement",
    "ordinal_depth": "dg.analyse.ordinal_depth:OrdinalDepth",
    "box_rescaling": "dg.analyse.box_rescaling:BoxRescaling",
}
