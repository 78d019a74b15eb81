"""Ways to dream of several tasks at once."""

from collections.abc import Callable
from functools import cached_property, lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.contenders import CannotRunError, Way
from bench.contenders.inference import open_graph
from mygo_edge.domains.pixels import Pixels
from mygo_edge.export.graphs import generator_graph
from mygo_edge.kernels.backend import BackendError, choose_backend
from mygo_edge.kernels.noise import dream_noise
from mygo_edge.model.gan import LATENT, FrozenGenerator, Generator
from mygo_edge.model.memory import GenerativeMemory
from mygo_edge.model.network import Shape

SHAPE: Shape = (1, 28, 28)
DOMAIN = Pixels(SHAPE)
CLASSES = 2
WIDTH = {"perceptron": 128, "convolutional": 64}  # the published generator's hidden layer; the learner's default
COMPILED_TASKS = 5  # compiling takes up to a minute a shape
COMPILED_ON_CUDA = (125, 2**20 // 5 * 5)  # samples; the time on a card is short
WAYS = ("loop", "vmap", "compiled", "ours, torch", "ours, triton", "onnxruntime, a graph a task")
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}  # relative root mean square against float32

Images = Callable[[Tensor, Tensor], Tensor]  # z [tasks, n, latent] and class ids [tasks, n] -> images


@lru_cache(maxsize=1)
def memory_of(kind: str, tasks: int, device: torch.device) -> GenerativeMemory:
    """Generators with random weights: the arithmetic is the same."""
    memory = GenerativeMemory(SHAPE)
    torch.manual_seed(0)
    for _ in range(tasks):
        memory.add(Generator(SHAPE, CLASSES, WIDTH[kind], kind).eval().freeze())  # type: ignore[arg-type]
    return memory.to(device)


def images_of(generator: FrozenGenerator, z: Tensor, class_ids: Tensor) -> Tensor:
    """A generator in PyTorch's own layers."""
    hidden = F.linear(z, generator.base_weight.T) + generator.class_bias[class_ids]
    if generator.kind == "perceptron":
        ((weight, bias),) = generator.convolutions
        pixels = bias.repeat_interleave(weight.shape[2] * weight.shape[3])
        return F.linear(F.relu(hidden), weight.flatten(1).T, pixels).tanh().unflatten(1, generator.shape)
    hidden = hidden.unflatten(1, (-1, *generator.base_size))
    for weight, bias in generator.convolutions:
        hidden = F.conv_transpose2d(F.relu(hidden), weight, bias, stride=2, padding=1)
    return hidden.tanh()


class DreamCase:
    """`batch` dreams (as many as divide evenly) of the first tasks of a memory."""

    def __init__(self, kind: str, tasks: int, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        self.memory, self.device, self.dtype = memory_of(kind, tasks, device), device, dtype
        self.dreamt = min(tasks, batch)  # a batch smaller than the tasks dreams of some of them
        self.each = batch // self.dreamt
        self.samples = self.dreamt * self.each

    def way(self, name: str) -> Way:
        """Raises CannotRunError."""
        if name.startswith("ours"):
            return self._ours(name.removeprefix("ours, "))
        if name.startswith("onnxruntime"):
            return self._onnxruntime()
        if name == "compiled" and len(self.memory) != COMPILED_TASKS:
            raise CannotRunError(f"compiling takes up to a minute a shape: measured for {COMPILED_TASKS} tasks only")
        if name == "compiled" and self.device.type == "cuda" and self.samples not in COMPILED_ON_CUDA:
            raise CannotRunError("compiling takes up to a minute a shape: measured for the smallest and largest batch")
        images = self._loop(self.dtype) if name == "loop" else self._vmap()
        if name == "compiled":
            images = torch.compile(images, mode="max-autotune", dynamic=False)

        def run() -> Tensor:
            z = torch.randn(self.dreamt, self.each, LATENT, device=self.device, dtype=self.dtype)
            return images(z, torch.randint(CLASSES, (self.dreamt, self.each), device=self.device))

        return Way(run, lambda: self._agree(images(self._z.to(self.dtype), self._class_ids)))

    @cached_property
    def _noise(self) -> tuple[Tensor, Tensor]:
        """What ours dreams from for seed, stream and step 0."""
        samples = torch.arange(self.samples, device=self.device)
        z, class_ids, _ = dream_noise(samples, CLASSES, LATENT, seed=0, stream=0, step=0, xp=torch)
        return z.unflatten(0, (self.dreamt, -1)), class_ids.unflatten(0, (self.dreamt, -1))

    @property
    def _z(self) -> Tensor:
        return self._noise[0]

    @property
    def _class_ids(self) -> Tensor:
        return self._noise[1]

    @cached_property
    def _expected(self) -> Tensor:
        return self._loop(torch.float32)(self._z, self._class_ids)

    def _agree(self, found: Tensor) -> None:
        error = (found.float() - self._expected).square().mean().sqrt() / self._expected.square().mean().sqrt()
        assert float(error) < TOLERANCE[self.dtype], f"off by {float(error):.1e} (relative root mean square)"

    def _loop(self, dtype: torch.dtype) -> Images:
        """One generator after another, as the published code does."""
        members: list[FrozenGenerator] = list(self.memory.generators)[: self.dreamt]  # type: ignore[arg-type]
        if dtype != torch.float32:
            members = [FrozenGenerator.from_tensors(one.shape, one.kind, one.state_dict()).to(dtype) for one in members]
        return lambda z, ids: torch.cat([images_of(one, z[task], ids[task]) for task, one in enumerate(members)])

    def _vmap(self) -> Images:
        """All tasks at once over stacked weights: `baddbmm` for perceptrons, `torch.func.vmap` for convolutions."""
        stack, dtype, tasks = self.memory.stack, self.dtype, self.dreamt
        base, *weights = (part.to(dtype)[:tasks] for part in (stack.base_weight, *stack.weights))
        biases = [bias.to(dtype)[:tasks] for bias in stack.biases]
        by_class = stack.class_bias.to(dtype).unflatten(0, (len(stack), CLASSES))[:tasks]
        convolve = torch.func.vmap(lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, padding=1))

        def images(z: Tensor, ids: Tensor) -> Tensor:
            rows = by_class.gather(1, ids[..., None].expand(-1, -1, by_class.shape[2]))
            hidden = torch.baddbmm(rows, z, base)
            if stack.kind == "perceptron":
                dense = weights[0].flatten(2)  # [tasks, hidden, pixels]
                bias = biases[0].repeat_interleave(dense.shape[2] // biases[0].shape[1], 1)
                return torch.baddbmm(bias[:, None], F.relu(hidden), dense).tanh().unflatten(2, SHAPE).flatten(0, 1)
            hidden = hidden.unflatten(2, (*stack.base_size, -1)).movedim(-1, 2)
            for weight, bias in zip(weights, biases, strict=True):
                hidden = convolve(F.relu(hidden), weight, bias)
            return hidden.tanh().flatten(0, 1)

        return images

    def _ours(self, backend: str) -> Way:
        try:
            choose_backend(backend, self.device.type)
        except BackendError as error:
            raise CannotRunError(str(error)) from error
        counts = [self.each] * self.dreamt
        step = torch.zeros((), dtype=torch.int64, device=self.device)

        def run() -> Tensor:
            dreams = self.memory.dream(counts, seed=0, stream=0, step=step, dtype=self.dtype, backend=backend)
            return dreams.images

        return Way(run, lambda: self._agree(run()))

    def _onnxruntime(self) -> Way:
        if self.device.type != "cpu":
            raise CannotRunError("onnxruntime runs on CPUs here; it is compared where the others do, too")
        members: list[FrozenGenerator] = list(self.memory.generators)  # type: ignore[arg-type]
        sessions = [open_graph(generator_graph(member)) for member in members[: self.dreamt]]

        def images(z: np.ndarray, ids: np.ndarray) -> np.ndarray:
            parts = zip(sessions, np.split(z, self.dreamt), np.split(ids, self.dreamt), strict=True)
            return np.concatenate([one.run(None, {"z": part, "class_id": own})[0] for one, part, own in parts])

        source = np.random.default_rng(0)

        def run() -> np.ndarray:
            z = source.standard_normal((self.samples, LATENT), dtype=np.float32)
            return images(z, source.integers(0, CLASSES, self.samples))

        return Way(
            run,
            lambda: self._agree(
                torch.from_numpy(images(self._z.flatten(0, 1).numpy(), self._class_ids.flatten().numpy()))
            ),
        )

    def least(self) -> dict[str, int]:
        """Bytes that must move (images written, weights read once) and floating-point operations."""
        members = list(self.memory.generators)[: self.dreamt]
        weights = sum(tensor.numel() * 4 for member in members for tensor in member.buffers())
        size = torch.empty((), dtype=self.dtype).element_size()
        pixels = SHAPE[0] * SHAPE[1] * SHAPE[2]
        with FlopCounterMode(display=False) as counter:
            one = torch.zeros(1, LATENT, device=self.device), torch.zeros(1, dtype=torch.int64, device=self.device)
            images_of(members[0], *one)  # type: ignore[arg-type]
        return {"bytes": self.samples * pixels * size + weights, "flop": self.samples * counter.get_total_flops()}
