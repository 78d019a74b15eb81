"""Trunks: frozen networks, as ONNX graphs, that turn what a user has into vectors."""
