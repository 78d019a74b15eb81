"""Datasets as whole tensors, and the stream of tasks made from them."""
