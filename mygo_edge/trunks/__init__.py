"""Frozen trunks: ONNX graphs from raw input to the vector of features that a domain of features dreams of."""
