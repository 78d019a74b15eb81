"""Tests run in several processes (pytest-xdist), so none of them should start threads for every core."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch or onnxruntime is first imported; children inherit it
