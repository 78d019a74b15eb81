"""What runs on a device: a published bundle, read, checked and run with numpy and onnxruntime alone."""
