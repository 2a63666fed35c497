"""One training run: its task, the networks and pool built for it, and the loop."""
