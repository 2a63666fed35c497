"""PoseAug's trained simple baseline as a function of its recorded weights: a ruler for whole data paths."""

import torch


def released_baseline(shared):
    """The function [rows, 1, 16, 2] -> [rows, 16, 3] that the released code computes in evaluation mode."""
    saved = torch.load(shared / "conformance" / "poseaug_trained_simple_baseline.pth", weights_only=True)
    weights = saved.get("state_dict", saved.get("model_pos", saved))

    def layer(x, prefix, number):
        x = torch.nn.functional.linear(x, weights[f"{prefix}w{number}.weight"], weights[f"{prefix}w{number}.bias"])
        norm = {
            k: weights[f"{prefix}batch_norm{number}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")
        }
        return torch.nn.functional.batch_norm(x, **norm).relu()

    def predict(joints_2d):
        y = layer(joints_2d.flatten(1), "", 1)
        for stage in range(2):
            prefix = f"linear_stages.{stage}."
            y = y + layer(layer(y, prefix, 1), prefix, 2)
        y = torch.nn.functional.linear(y, weights["w2.weight"], weights["w2.bias"]).unflatten(1, (15, 3))
        return torch.cat([torch.zeros(len(y), 1, 3), y], 1)

    return predict
