"""Lifters in files: our checkpoints, published ones, and TorchScript and ONNX files of ours or of others."""
