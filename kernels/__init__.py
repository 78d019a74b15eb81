"""The operators of the sleep's hot path, each with its PyTorch reference. Importing this package imports no torch."""

from typing import Literal

Backend = Literal["auto", "torch", "triton"]
GeneratorKind = Literal["convolutional", "perceptron", "gaussian"]
