"""Sweeps: Optuna asks, trials train, MLflow shows."""
