"""Damage bundles in every way that we could think of and load each. A program of its own, because it may crash.

Usage: mutants.py SOURCE FOLDER FIRST COUNT. SOURCE is a bundle, of images, photos or texts, whose live version is
v0002; FOLDER is empty and gets one mutant at a time. Writes a line a mutant: its number, its kind, "refused" or
"harmless", and the peak memory in MiB. Anything else that a mutant does (an exception of another type, a write
elsewhere, a crash) ends the program with a status that is not 0.
"""

import copy
import io
import json
import os
import random
import resource
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import onnx
from onnx import TensorProto, helper

from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import sha256
from tests.damage import replace_file

MEMORY = 2**29  # bytes of resident memory that no mutant may make the process take on top of its own
ADDRESSES = 2**33
SECONDS = 20  # of processor time a mutant
# NaN and a number beyond floats are no JSON, but Python's parser takes them.
HOSTILE: list[Any] = [
    *(
        "..",
        ".",
        "",
        "/",
        "/etc/passwd",
        "../v0001/classifier.onnx",
        "a/b",
        "a\\b",
        "C:\\x",
        "\x00",
        "\ud800",
        "é" * 90,
    ),
    *("~", "$HOME", "file:///etc/passwd", "CON", "a" * 10**5, "v0002", "manifest.json", "\u202egnp.exe", "%n%s"),
    *(0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 1e308, float("nan"), float("inf"), -0.0, True, None, [], {}, [[]]),
    *([None] * 1000, {"a": {}}, [1, 2, 3], "0" * 64, "f" * 64, "1.0", 1.0),
]


def files(version: Path, suffix: str = "") -> list[str]:
    """Names of the files of a version, but for its manifest."""
    return sorted(path.name for path in version.glob(f"*{suffix}") if path.name != "manifest.json")


def flip(data: bytes, rng: random.Random) -> bytes:
    """Some bytes changed, cut, moved or doubled."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at, length = rng.randrange(len(changed) + 1), rng.choice([1, 1, 2, 4, 8, 200])
        match rng.randrange(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + length] = rng.randbytes(length)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length]
            case 4:
                changed[at : at + length] = rng.choice([b"\xff" * length, bytes(length), b"\x80" * 10])
    return bytes(changed) or b"\x00"


def manifest_bytes(version: Path, rng: random.Random) -> None:
    path = version / "manifest.json"
    path.write_bytes(flip(path.read_bytes(), rng))


def manifest_values(version: Path, rng: random.Random) -> None:
    document = json.loads((version / "manifest.json").read_text())
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        parent: Any = document
        key = rng.choice(list(parent))
        while isinstance(parent[key], (dict, list)) and parent[key] and rng.random() < 0.85:
            parent = parent[key]
            key = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        match rng.randrange(4):
            case 0 | 1:
                parent[key] = copy.deepcopy(rng.choice(HOSTILE))
            case 2:
                del parent[key]
                if not document:
                    break
            case 3 if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[key]))
            case 3:
                parent[str(rng.choice(HOSTILE))[:100]] = copy.deepcopy(parent[key])
    (version / "manifest.json").write_text(json.dumps(document), encoding="utf-8", errors="surrogatepass")


def manifest_bomb(version: Path, rng: random.Random) -> None:
    bomb = rng.choice([b"[" * 10**6, b'{"a":' * 10**5, b"1" * 10**6, b'"' + b"a" * (2**22 + 1), b"\xff\xfe" * 10**5])
    head = b'{"schema_version": "2.0", "reader": 2, "sequence": ' if rng.random() < 0.5 else b""
    (version / "manifest.json").write_bytes(head + bomb)


def manifest_flood(version: Path, rng: random.Random) -> None:
    """As many entries of one kind as the file may hold."""
    document = json.loads((version / "manifest.json").read_text())
    many = range(rng.choice([1000, 20_000, 60_000]))
    match rng.randrange(4):
        case 0:
            document["tasks"][0]["classes"] = [f"c{index}" for index in many]
        case 1:
            document["tasks"] = [document["tasks"][0] | {"name": f"t{i}", "head": f"h{i}"} for i in many[:20_000]]
        case 2:
            document["files"] += [document["files"][0] | {"path": f"f{i}.bin", "role": "later"} for i in many[:15_000]]
        case 3:
            document["producer"] = {f"p{index}": "1" for index in many}
    (version / "manifest.json").write_text(json.dumps(document))


def manifest_module(version: Path, rng: random.Random) -> None:
    """A file that an interpreter would import, listed with its right hash under any role."""
    name = rng.choice(["json.py", "sitecustomize.py", "numpy.py", "x.pth", "onnxruntime.so", "numpy"])
    data = b"raise SystemExit('imported')"
    document = json.loads((version / "manifest.json").read_text())
    role = rng.choice(["generators", "classifier", "generator", "selftest", "trunk", "tokenizer", "factor", "later"])
    entry = {"path": name, "role": role, "sha256": sha256(data), "bytes": len(data), "precision": "fp32"}
    document["files"].append(entry | ({"task": "parity"} if role == "generator" else {}))
    (version / name).write_bytes(data)
    (version / "manifest.json").write_text(json.dumps(document))


def manifest_later(version: Path, rng: random.Random) -> None:
    """Fields of schema 2.0 with values from anywhere."""
    document = json.loads((version / "manifest.json").read_text())
    for key in rng.sample(["id", "reader", "expires", "next_key", "latent", "features", "features_digest", "trunk"], 2):
        document[key] = copy.deepcopy(rng.choice(HOSTILE))
    if rng.random() < 0.3:
        image = {"kind": "image", "size": [8, 8], "resize": None, "crop": "none", "interpolation": "box",
                 "mean": [0, 0, 0], "std": [1, 1, 1], "layout": "nchw"}  # fmt: skip
        text = {"kind": "text", "tokenizer": "x", "max_tokens": 5}
        trunk = {"digest": "0" * 64, "file": "classifier.onnx", "output": "features", "features": 256}
        document["trunk"] = trunk | {"input": rng.choice([image, text])}
        document.pop("input", None)
    (version / "manifest.json").write_text(json.dumps(document, allow_nan=True), errors="surrogatepass")


def file_damaged(version: Path, rng: random.Random) -> None:
    path = version / rng.choice(files(version))
    path.write_bytes(flip(path.read_bytes(), rng))


def file_replaced(version: Path, rng: random.Random) -> None:
    path = version / rng.choice([*files(version), "manifest.json", "../current"])
    path.unlink()
    match rng.randrange(7):
        case 0:
            os.mkfifo(path)
        case 1:
            path.mkdir()
        case 2:
            path.symlink_to(
                rng.choice(["/etc/passwd", "/dev/zero", path.name, "../v0001/classifier.onnx", "/dev/stdin"])
            )
        case 3:
            os.link(next((version.parent / "v0001").glob("*.onnx")), path)
        case 4:
            with path.open("wb") as file:
                file.truncate(2**40)  # takes no room on the disk
        case 5:
            path.write_bytes(b"")


def file_added(version: Path, rng: random.Random) -> None:
    name = rng.choice(["weights.bin", ".hidden", "..x", "é", "manifest.sig", "Manifest.json", "a b", "x\n"])
    (version / name).write_bytes(rng.randbytes(64))


def current(version: Path, rng: random.Random) -> None:
    content = rng.choice([str(value).encode("utf-8", "replace") for value in HOSTILE] + [rng.randbytes(20)])
    (version.parent / "current").write_bytes(content + rng.choice([b"", b"\n", b"\x00", b"v0002"]))


def graph_bytes(version: Path, rng: random.Random) -> None:
    name = rng.choice(files(version, ".onnx"))
    replace_file(version, name, flip((version / name).read_bytes(), rng))


def graph_structure(version: Path, rng: random.Random) -> None:
    name = rng.choice(files(version, ".onnx"))
    model = onnx.load(version / name)
    for _ in range(rng.choice([1, 1, 2, 3])):
        rng.choice(GRAPH_CHANGES)(model, rng)
    replace_file(version, name, model.SerializeToString() or b"\x00")


SIDES = [0, 1, 2, 3, 7, 64, 65, 255, 4096, 65536, 2**20, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, -1, -(2**63)]


def change_tensor(model: onnx.ModelProto, rng: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    match rng.randrange(6):
        case 0 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(SIDES)
        case 1:
            tensor.dims.append(rng.choice(SIDES))
        case 2:
            tensor.data_type = rng.randrange(30)
        case 3:
            tensor.raw_data = flip(tensor.raw_data or b"x", rng)
        case 4:
            tensor.name = rng.choice([*(other.name for other in model.graph.initializer), "", "image"])
        case 5:
            tensor.external_data.add(key="location", value=rng.choice(["/etc/passwd", "weights.bin", "../current"]))
            tensor.data_location = TensorProto.EXTERNAL


def change_node(model: onnx.ModelProto, rng: random.Random) -> None:
    if not model.graph.node:
        return
    node = rng.choice(model.graph.node)
    names = [*(name for other in model.graph.node for name in (*other.input, *other.output)), "", "nowhere"]
    match rng.randrange(8):
        case 0:
            node.op_type = rng.choice([*OPERATOR_NAMES, "Evil", ""])
        case 1:
            node.domain = rng.choice(["com.microsoft", "ai.onnx.ml", "evil", "ai.onnx"])
        case 2 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(names)
        case 3 if node.output:
            node.output[rng.randrange(len(node.output))] = rng.choice(names)
        case 4:
            model.graph.node.append(copy.deepcopy(node))
        case 5:
            model.graph.node.remove(node)
        case 6:
            node.input.append(rng.choice(names))
        case 7:
            node.output.append(rng.choice(names))


def change_attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(model.graph.node) if model.graph.node else model.graph.node.add(op_type="Conv")
    if node.attribute and rng.random() < 0.7:
        attribute = rng.choice(node.attribute)
        if attribute.ints:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(SIDES)
        elif rng.random() < 0.5:
            attribute.i = rng.choice(SIDES)
        else:
            attribute.type = rng.randrange(15)
        return
    name = rng.choice(["pads", "strides", "dilations", "kernel_shape", "output_shape", "axis", "perm", "group", "to"])
    value = [rng.choice(SIDES) for _ in range(rng.choice([1, 2, 4]))]
    node.attribute.append(helper.make_attribute(name, value if rng.random() < 0.6 else value[0]))


def change_shape(model: onnx.ModelProto, rng: random.Random) -> None:
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    if not values:
        return
    value = rng.choice(values)
    match rng.randrange(4):
        case 0 if value.type.tensor_type.shape.dim:
            rng.choice(value.type.tensor_type.shape.dim).dim_value = rng.choice(SIDES)
        case 1:
            value.type.tensor_type.elem_type = rng.randrange(25)
        case 2:
            value.name = rng.choice([other.name for other in values])
        case 3:
            model.graph.value_info.append(helper.make_tensor_value_info("relu_0", 1, [rng.choice(SIDES)] * 4))


def change_model(model: onnx.ModelProto, rng: random.Random) -> None:
    match rng.randrange(5):
        case 0:
            model.ir_version = rng.choice(SIDES)
        case 1:
            model.opset_import[0].version = rng.choice(SIDES)
        case 2:
            model.opset_import.append(helper.make_opsetid(rng.choice(["com.microsoft", "evil", ""]), 1))
        case 3:
            for _ in range(rng.choice([100, 5000])):
                model.graph.node.append(helper.make_node("Identity", ["image"], [f"n{len(model.graph.node)}"]))
        case 4:
            branch = helper.make_graph([helper.make_node("Identity", ["image"], ["b"])], "b", [], [])
            kind = rng.choice(["If", "Loop", "Scan"])
            model.graph.node.append(helper.make_node(kind, ["image"], ["c"], body=branch, then_branch=branch))


def blow_up(model: onnx.ModelProto, rng: random.Random) -> None:
    """Nodes that make much of little, appended so that the first output needs them."""
    if not model.graph.output:
        return
    side = rng.choice([1000, 30000, 10**6, 2**31 - 1])
    held = bytes(4 * min(side, 30000))
    tall = TensorProto(name="tall", data_type=1, dims=[side, 1], raw_data=held)
    wide = TensorProto(name="wide", data_type=1, dims=[1, side], raw_data=held)
    shape = helper.make_tensor("shape", 7, [2], [side, side])
    model.graph.initializer.extend([tall, wide, shape])
    output = model.graph.output[0].name
    blown = rng.choice(
        [
            [helper.make_node("MatMul", ["tall", "wide"], ["big"])],
            [helper.make_node("ConstantOfShape", ["shape"], ["big"])],
            [helper.make_node("Expand", ["tall", "shape"], ["big"])],
            [helper.make_node("Add", ["tall", "wide"], ["big"])],
            [helper.make_node("ReduceSum", [output], ["one"]), helper.make_node("Mul", ["one", "tall"], ["high"]),
             helper.make_node("MatMul", ["high", "wide"], ["big"])],
            [helper.make_node("ReduceSum", [output], ["one"]), helper.make_node("Pad", ["one", "shape"], ["big"])],
            [helper.make_node("Gather", ["tall", "shape"], ["big"])],
        ]
    )  # fmt: skip
    model.graph.node.extend([*blown, helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0)])
    model.graph.output.append(helper.make_tensor_value_info("sum", 1, []))
    if rng.random() < 0.7:  # needed by what the device asks for
        for node in model.graph.node:
            for index, name in enumerate(node.output):
                if name == output:
                    node.output[index] = "before"
            for index, name in enumerate(node.input):
                if name == output:
                    node.input[index] = "before"
        model.graph.node.append(helper.make_node("Add", ["before", "sum"], [output]))


GRAPH_CHANGES: list[Callable[[onnx.ModelProto, random.Random], None]] = [
    *(change_tensor, change_node, change_attribute, change_shape, change_model, blow_up)
]
OPERATOR_NAMES = sorted({schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""})


def arrays_bytes(version: Path, rng: random.Random) -> None:
    name = rng.choice(files(version, ".npz"))
    replace_file(version, name, flip((version / name).read_bytes(), rng))


@np.errstate(over="ignore")  # half precision holds no such numbers
def arrays_changed(version: Path, rng: random.Random) -> None:
    path = version / rng.choice(files(version, ".npz"))
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = rng.choice(list(arrays))
    array = np.atleast_1d(arrays[name])
    arrays[name] = rng.choice(
        [
            array[:0],
            array.astype(np.float64),
            array.astype(object),
            np.full(array.shape, 10**9).astype(array.dtype),
            array.ravel(),
            array[0],
        ]
    )
    if array.dtype == np.float32 and rng.random() < 0.5:
        arrays[name] = np.full_like(array, rng.choice([np.nan, np.inf, 1e38]))
    file = io.BytesIO()
    (np.savez_compressed if rng.random() < 0.3 else np.savez)(file, **arrays)
    replace_file(version, path.name, file.getvalue())


def tokenizer_values(version: Path, rng: random.Random) -> None:
    """Bytes or values of a tokenizer, where there is one; of another small file, where not."""
    name = next(iter(files(version, ".json")), "")
    if not name or rng.random() < 0.3:
        name = name or rng.choice(files(version))
        replace_file(version, name, flip((version / name).read_bytes(), rng))
        return
    document = json.loads((version / name).read_text())
    parent: Any = document
    key = rng.choice(list(parent))
    while isinstance(parent[key], (dict, list)) and parent[key] and rng.random() < 0.8:
        parent = parent[key]
        key = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    parent[key] = copy.deepcopy(rng.choice(HOSTILE))
    replace_file(version, name, json.dumps(document).encode())


def selftest_bomb(version: Path, rng: random.Random) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])) as archive:
        for name in ("z", "class_id", "dreams", "logits"):
            header = (
                f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rng.choice(SIDES)}, 64), }}".ljust(117) + "\n"
            )
            content = b"\x93NUMPY\x01\x00\x76\x00" + header.encode()
            archive.writestr(f"{name}.npy", content + bytes(rng.choice([0, 2**20])))
    replace_file(version, "selftest.npz", file.getvalue())


MANIFESTS = [
    *(manifest_bytes, manifest_values, manifest_values, manifest_bomb),
    *(manifest_flood, manifest_module, manifest_later),
]
FILES = [file_damaged, file_replaced, file_added, current]
INSIDES = [graph_bytes, graph_bytes, graph_structure, graph_structure, graph_structure, graph_structure]
TESTS = [arrays_bytes, arrays_changed, selftest_bomb, tokenizer_values]
KINDS = [*MANIFESTS, *FILES, *INSIDES, *TESTS]


def use(bundle: Path, selftest: bool) -> str:
    """What a device does with a bundle. Any error but MygoEdgeError goes on."""
    try:
        model = EdgeModel.load(bundle, selftest=selftest)
        model.predict_proba(model.example(2))
        for task in model.tasks:
            model.dream(task, n=2)
    except MygoEdgeError as error:
        return "refused" if "\n" not in str(error) else "refused in more than one line"
    return "harmless"


def forbid_writes() -> Callable[[bool], None]:
    """A switch: while it is on, this process may change nothing in any file system."""
    changes = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate")
    changes += ("subprocess.Popen", "os.system", "os.exec", "socket.connect", "pickle.find_class")
    watching = False

    def watch(event: str, details: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if watching and (writes or event in changes):
            os.write(2, f"a mutant did {event} {details}\n".encode())
            os._exit(3)

    def switch(on: bool) -> None:
        nonlocal watching
        watching = on

    sys.addaudithook(watch)
    return switch


def listing(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times below a folder."""
    paths = sorted(folder.rglob("*"))
    return [(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths]


def main(source: Path, folder: Path, first: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    os.chdir(folder)  # where onnxruntime would look for external data
    (folder / "weights.bin").write_bytes(bytes(2**16))
    forbid = forbid_writes()
    use(source, selftest=True)  # imports what is imported on first use
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for number in range(first, first + count):
        rng = random.Random(number)
        kind = rng.choice(KINDS)
        bundle = Path(shutil.copytree(source, folder / "mutant"))
        print(number, kind.__name__, end=" ", flush=True)
        kind(bundle / "v0002", rng)
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(used.ru_utime + used.ru_stime) + 1 + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (spent, resource.RLIM_INFINITY))
        before = listing(folder)
        forbid(True)
        answer = use(bundle, selftest=kind not in INSIDES or number % 2 == 0)
        forbid(False)
        assert listing(folder) == before, "a mutant changed a file"
        if answer not in ("refused", "harmless"):
            raise SystemExit(answer)
        print(answer, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)
        shutil.rmtree(bundle)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - base
    assert grown < MEMORY, f"{grown} bytes of memory were used"


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), int(sys.argv[3]), int(sys.argv[4]))
