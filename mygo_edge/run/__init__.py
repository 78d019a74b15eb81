"""A run: its folder, checkpoints, progress, and the loop over tasks and methods."""
