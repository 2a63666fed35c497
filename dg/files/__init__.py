"""Files that are written whole and read without running anything: atomic writes, restricted loading, checkpoints."""
