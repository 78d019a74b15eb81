"""The learner of images: wake by gradient descent, memory by generators, sleep on dreams that are sampled."""
