"""From predictions to results: metrics, predictions over a test set, model selection, the rows of a summary."""
