"""Launch the kernels of dreams through Triton's own launcher, on a card that is a stand-in for libcuda.so.1.

Run as a program, in a process that interprets nothing: `python -m tests.kernels.launching FOLDER`. It prints, as JSON,
one launch a line: what was launched, on which grid, and which parameters are not what they should be. The stand-in
computes nothing, so what is shown is that arguments, grids and options reach a driver as they were meant.
"""

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

SOURCE = Path(__file__).parent / "standin_cuda.c"
TARGET, SHARED = 90, 227 << 10
SIZES = {"b64": 8, "u64": 8, "s64": 8, "f64": 8, "b32": 4, "u32": 4, "s32": 4, "f32": 4, "b16": 2, "b8": 1, "u8": 1}


def stand_in(folder: Path) -> ctypes.CDLL:
    """Build the stand-in, and load it in place of libcuda.so.1."""
    library = folder / "libcuda.so.1"
    words = ["cc", "-shared", "-fPIC", "-w", f"-Wl,-soname,{library.name}", "-o", str(library), str(SOURCE)]
    subprocess.run(words, check=True)
    os.environ.update(TRITON_LIBCUDA_PATH=str(folder), TRITON_CACHE_DIR=str(folder / "cache"))
    found = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    for name, value in (("major", TARGET // 10), ("minor", TARGET % 10), ("shared", SHARED)):
        ctypes.c_int.in_dll(found, f"standin_{name}").value = value
    return found


class Driver:
    """Triton's driver with its own launcher; device and stream are said, not asked for."""

    def __init__(self) -> None:
        from triton.backends.nvidia.driver import CudaLauncher, CudaUtils

        self.utils, self.launcher_cls = CudaUtils(), CudaLauncher

    def get_current_target(self) -> Any:
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", TARGET, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def flat(arguments: Any) -> Iterator[Any]:
    """Numbers and tensors of nested tuples, without the constants that are compiled in: None and 1."""
    for value in arguments:
        if isinstance(value, tuple):
            yield from flat(value)
        elif value is not None and not (isinstance(value, int) and value == 1):
            yield value


def launched(library: ctypes.CDLL, launch: Any) -> dict[str, Any]:
    """Launch, and compare what reached the driver with what was meant."""
    how = dict(launch.options)
    kernel = launch.kernel.run(*launch.arguments, grid=launch.grid, warmup=True, **how)
    entry = kernel.asm["ptx"].split(".entry", 1)[1].split("{", 1)[0]
    sizes = [SIZES[kind] for kind in re.findall(r"\.param \.(\w+)", entry)]
    ctypes.c_int.in_dll(library, "standin_parameters").value = len(sizes)
    (ctypes.c_int * 256).in_dll(library, "standin_sizes")[: len(sizes)] = sizes
    launch.run()
    values = (ctypes.c_uint64 * 256).in_dll(library, "standin_values")[: len(sizes)]
    # What `do_not_specialize` names is passed also where it is 1.
    meant = [number(value, size) for value, size in zip(flat(launch.arguments), sizes, strict=False)]
    passed = values[: len(meant)]
    grid = list((ctypes.c_uint * 3).in_dll(library, "standin_grid"))
    return {
        "kernel": launch.name,
        "grid": grid,
        "meant_grid": [*launch.grid, 1, 1][:3],
        "block": list((ctypes.c_uint * 3).in_dll(library, "standin_block")),
        "warps": how["num_warps"],
        "shared": ctypes.c_uint.in_dll(library, "standin_dynamic").value,
        "meant_shared": kernel.metadata.shared,
        "parameters": len(sizes),
        "meant_parameters": sum(1 for _ in flat(launch.arguments)) + 2,  # two scratch pointers of Triton's own
        "wrong": [place for place, pair in enumerate(zip(passed, meant, strict=True)) if pair[0] != pair[1]],
    }


def number(value: Any, size: int) -> int:
    """The bits of an argument of so many bytes."""
    if isinstance(value, torch.Tensor):
        return value.data_ptr()
    if isinstance(value, float):
        return ctypes.c_uint32.from_buffer_copy(ctypes.c_float(value)).value
    return int(value) % 2 ** (8 * size)


def main() -> None:
    library = stand_in(Path(sys.argv[1]))
    from triton.runtime.driver import driver

    from bench.cases import DIGITS, MNIST, TEXT, Case
    from bench.compiled import launches_of

    driver.set_active(Driver())
    torch.set_num_threads(1)
    for case in (
        Case("convolutional", MNIST, each=3, steps=2),
        Case("convolutional", DIGITS, torch.bfloat16, each=5, steps=1),
        Case("perceptron", MNIST, width=64, each=3, steps=2),
        Case("gaussian", TEXT, each=3, steps=1),
        Case("gaussian", TEXT, torch.float16, power=0.3, normalised=True, each=40, steps=2),
    ):
        for launch in launches_of(case, TARGET):
            print(json.dumps({"case": case.name, **launched(library, launch)}))


if __name__ == "__main__":
    main()
