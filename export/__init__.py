"""From trained networks to what a device gets: ONNX graphs, their checks, the bundle on disk."""
