"""Features of pictures: batches through a trunk's graph, decoded as they are needed."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mygo_edge.bundle.vision import from_pixels, graph_input, read_photo
from mygo_edge.errors import MygoEdgeError
from mygo_edge.trunks.trunk import Trunk

Progress = Callable[[int, int], None]  # pictures done, pictures in all
BATCH = 32  # pictures; larger ones are no faster on a CPU, and hold more memory
_FATAL = 4  # log level; what goes wrong is raised
T = TypeVar("T")


class Extractor:
    """A trunk in an onnxruntime session, on a GPU where onnxruntime has the CUDA provider."""

    def __init__(self, trunk: Trunk, threads: int = 0, batch: int = BATCH) -> None:
        """threads: of a run on the CPU, 0 for as many as cores; batch: pictures a run.

        Raises:
            MygoEdgeError: onnxruntime cannot run the graph.
        """
        self.trunk, self.batch = trunk, batch
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = _FATAL
        wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
        try:
            self._session = onnxruntime.InferenceSession(trunk.graph, options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise MygoEdgeError(
                f"--trunk {trunk.name}: onnxruntime cannot run it ({error}); export it again"
            ) from error

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[n, height, width, 3] prepared pictures -> [n, features]."""
        trunk = self.trunk
        feeds = {trunk.input: graph_input(pictures, trunk.form, trunk.floats)}
        try:
            return self._session.run([trunk.output], feeds)[0]
        except Exception as error:
            raise MygoEdgeError(f"--trunk {trunk.name} failed on a batch ({error}); check its input size") from error

    def files(self, paths: Sequence[Path], progress: Progress | None = None) -> Iterator[NDArray[np.float32]]:
        """[batch, features] of picture files, batch after batch; while one runs, the next is decoded.

        Raises:
            MygoEdgeError: naming the file that cannot be read, or of which the trunk makes NaN or infinity.
        """

        def read(part: slice) -> NDArray[np.uint8]:
            try:
                return np.stack([read_photo(path, self.trunk.form) for path in paths[part]])
            except MygoEdgeError as error:
                raise MygoEdgeError(f"{error}; repair or remove it, or pass --folder.unreadable skip") from error

        yield from self._batches(len(paths), read, lambda row: str(paths[row]), progress)

    def images(self, images: NDArray[np.uint8], progress: Progress | None = None) -> Iterator[NDArray[np.float32]]:
        """[batch, features] of pixels in memory, uint8 [n, 1 or 3, height, width] of any size. Raises as `files`."""

        def read(part: slice) -> NDArray[np.uint8]:
            return from_pixels(images[part], self.trunk.form)

        yield from self._batches(len(images), read, lambda row: f"image {row}", progress)

    def _batches(
        self,
        n: int,
        read: Callable[[slice], NDArray[np.uint8]],
        name: Callable[[int], str],
        progress: Progress | None,
    ) -> Iterator[NDArray[np.float32]]:
        starts = range(0, n, self.batch)
        for start, pictures in zip(
            starts, _ahead([slice(start, start + self.batch) for start in starts], read), strict=True
        ):
            features = self(pictures)
            if (bad := ~np.isfinite(features).all(1)).any():
                where = name(start + int(bad.argmax()))
                raise MygoEdgeError(f"--trunk {self.trunk.name} makes NaN or infinity of {where}; use another trunk")
            if progress is not None:
                progress(start + len(features), n)
            yield features


def _ahead(parts: Sequence[slice], read: Callable[[slice], T]) -> Iterator[T]:
    """`read` of every part in order, one part ahead of the caller. Pillow decodes without holding Python's lock."""
    with ThreadPoolExecutor(1) as pool:
        pending: Future[T] | None = None
        for part in parts:
            current, pending = pending, pool.submit(read, part)
            if current is not None:
                yield current.result()
        if pending is not None:
            yield pending.result()
