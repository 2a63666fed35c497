"""A run as its driver sees it: the trainer actor, the handle on it, its status file and the display."""
