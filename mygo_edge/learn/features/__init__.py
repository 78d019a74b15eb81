"""The learner above a frozen trunk: memory by moments of features, sleep in closed form, and its rivals."""
