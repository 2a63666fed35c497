"""DG methods. To add one: one file here and one line below; the contract tests pick it up."""

METHODS = {
    "erm": "dg.methods.erm:ERM",
    "random_rigid": "dg.methods.random_rigid:RandomRigid",
    "poseaug": "dg.methods.poseaug:PoseAug",
}
