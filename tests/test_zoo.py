"""The committed networks are what the generator writes, and their sizes are those of the published architectures."""

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from math import ceil, prod
from pathlib import Path
from typing import Any

import pytest

ZOO = Path(__file__).parent.parent / "prototxt"
TOKEN = re.compile(r'\s*(?:#[^\n]*\n\s*)*("[^"]*"|[\w.+-]+|[{}:\[\],])')

# input, million parameters, GMAC at batch 1, as published for the Caffe versions that HaX-CoNN (PPoPP 2024) runs
PUBLISHED = {
    "alexnet": ((3, 227, 227), "60.965", "0.724"),
    "densenet": ((3, 224, 224), "7.895", "3.063"),
    "googlenet": ((3, 224, 224), "6.999", "1.583"),
    "inc-res-v2": ((3, 299, 299), "55.783", "13.156"),
    "inception": ((3, 299, 299), "42.617", "12.254"),
    "mobilenet": ((3, 224, 224), "4.210", "0.569"),
    "resnet18": ((3, 224, 224), "11.684", "1.827"),
    "resnet50": ((3, 224, 224), "25.504", "3.858"),
    "resnet101": ((3, 224, 224), "44.444", "7.570"),
    "resnet152": ((3, 224, 224), "60.041", "11.282"),
    "vgg16": ((3, 224, 224), "138.358", "15.470"),
    "vgg19": ((3, 224, 224), "20.854", "19.509"),
}
CONVOLUTIONS = [f"convolution/conv{index}_kernel{kernel}" for index in range(1, 6) for kernel in range(1, 6)]

Message = dict[str, list[Any]]


def parse(tokens: list[str]) -> Message:
    """Read the fields of a text-format message up to its closing brace; every field is a list of its values."""
    message: Message = {}
    while tokens and (name := tokens.pop()) != "}":
        if tokens[-1] == "{":
            tokens.pop()
            message.setdefault(name, []).append(parse(tokens))
            continue
        assert tokens.pop() == ":"
        if tokens[-1] == "[":
            while tokens.pop() != "]":
                message.setdefault(name, []).append(tokens.pop())
        else:
            message.setdefault(name, []).append(tokens.pop().strip('"'))
    return message


@cache
def layers(name: str) -> list[Message]:
    text = (ZOO / f"{name}.prototxt").read_text()
    tokens = TOKEN.findall(text)
    assert len("".join(tokens)) == len(re.sub(r"#[^\n]*\n|\s", "", text)), "a character that is no token"
    return parse(tokens[::-1])["layer"]


def number(param: Message, name: str, default: int) -> int:
    return int(param.get(name, [default])[0])


def extent(length: int, param: Message, axis: str, ceiling: bool) -> int:
    """Output length of a convolution or a Caffe pool along `axis` (h or w)."""
    kernel = number(param, f"kernel_{axis}", number(param, "kernel_size", 0))
    pad, stride = number(param, f"pad_{axis}", number(param, "pad", 0)), number(param, "stride", 1)
    steps = (length + 2 * pad - kernel) / stride
    out = (ceil(steps) if ceiling else int(steps)) + 1
    return out - 1 if ceiling and (out - 1) * stride >= length + pad else out


@cache
def walk(name: str) -> tuple[dict[str, tuple[int, ...]], int, int]:
    """Return the last shape of every tensor (without the batch), and the parameters and MACs of the network."""
    shapes: dict[str, tuple[int, ...]] = {}
    params = macs = 0
    for layer in layers(name):
        kind, top, inputs = layer["type"][0], layer["top"][0], [shapes[bottom] for bottom in layer.get("bottom", [])]
        match kind:
            case "Input":
                batch, *shape = (int(size) for size in layer["input_param"][0]["shape"][0]["dim"])
                assert batch == 1
                shapes[top] = tuple(shape)
            case "Convolution":
                param, (channels, height, width) = layer["convolution_param"][0], inputs[0]
                out, group = number(param, "num_output", 0), number(param, "group", 1)
                assert channels % group == 0
                kernel = [number(param, f"kernel_{axis}", number(param, "kernel_size", 0)) for axis in "hw"]
                weights = out * channels // group * prod(kernel)
                shapes[top] = (out, extent(height, param, "h", False), extent(width, param, "w", False))
                params += weights + (0 if param.get("bias_term") == ["false"] else out)
                macs += weights * prod(shapes[top][1:])
            case "InnerProduct":
                out = number(layer["inner_product_param"][0], "num_output", 0)
                shapes[top] = (out,)
                params += out * prod(inputs[0]) + out
                macs += out * prod(inputs[0])
            case "Pooling":
                param, (channels, height, width) = layer["pooling_param"][0], inputs[0]
                whole = param.get("global_pooling") == ["true"]
                size = (1, 1) if whole else (extent(height, param, "h", True), extent(width, param, "w", True))
                shapes[top] = (channels, *size)
            case "Concat":
                assert len({shape[1:] for shape in inputs}) == 1
                shapes[top] = (sum(shape[0] for shape in inputs), *inputs[0][1:])
            case "Eltwise":
                assert len(set(inputs)) == 1
                shapes[top] = inputs[0]
            case "ReLU" | "LRN" | "BatchNorm" | "Scale" | "Dropout" | "Softmax":
                shapes[top] = inputs[0]
            case _:
                pytest.fail(f"{name}: unexpected layer type {kind}")
    return shapes, params, macs


def generate(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ZOO / "generate.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    assert generate("--directory", str(tmp_path)).returncode == 0
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.prototxt")}
    assert written == {f"{name}.prototxt" for name in [*PUBLISHED, *CONVOLUTIONS]}
    for name in written:
        assert (tmp_path / name).read_bytes() == (ZOO / name).read_bytes(), name


def test_check_finds_an_edited_and_a_missing_file(tmp_path: Path) -> None:
    generate("--directory", str(tmp_path))
    assert generate("--check", "--directory", str(tmp_path)).returncode == 0
    edited, missing = tmp_path / "vgg16.prototxt", tmp_path / "alexnet.prototxt"
    edited.write_text(edited.read_text().replace("num_output: 512", "num_output: 511"))
    missing.unlink()
    result = generate("--check", "--directory", str(tmp_path))
    assert result.returncode == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [str(missing), str(edited)]
    assert not missing.exists()


def test_the_generator_is_smaller_than_what_it_generates() -> None:
    generator = sum(path.stat().st_size for path in ZOO.glob("*.py"))
    assert generator < sum(path.stat().st_size for path in ZOO.rglob("*.prototxt")) / 10


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(name: str) -> None:
    shape, million_params, giga_macs = PUBLISHED[name]
    shapes, params, macs = walk(name)
    assert shapes["data"] == shape
    assert (f"{params / 1e6:.3f}", f"{macs / 1e9:.3f}") == (million_params, giga_macs)


@pytest.mark.parametrize("name", [*PUBLISHED, *CONVOLUTIONS])
def test_every_network_is_one_graph_with_one_result(name: str) -> None:
    names = [layer["name"][0] for layer in layers(name)]
    assert len(set(names)) == len(names)
    used = {bottom for layer in layers(name) for bottom in layer.get("bottom", [])}
    final = layers(name)[-1]["top"][0]
    in_place = layers(name)[-1].get("bottom") == [final]
    assert set(walk(name)[0]) - used == (set() if in_place else {final})
    # Caffe lets a later layer overwrite a tensor; only layers in place may
    makers = Counter(layer["top"][0] for layer in layers(name) if layer.get("bottom") != layer["top"])
    assert set(makers.values()) == {1}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_ends_in_the_classes_it_was_published_with(name: str) -> None:
    last = layers(name)[-1]
    classes = 100 if name == "vgg19" else 1000
    assert prod(walk(name)[0][last["top"][0]]) == classes
    # the Caffe release of DenseNet leaves the Softmax to its users
    assert last["type"] == (["Convolution"] if name == "densenet" else ["Softmax"])


@pytest.mark.parametrize(
    ("name", "depth"),
    [("alexnet", 8), ("vgg16", 16), ("vgg19", 18), ("googlenet", 22), ("mobilenet", 28), ("densenet", 121)]
    + [(f"resnet{depth}", depth) for depth in (18, 50, 101, 152)],
)
def test_depth_is_the_one_in_the_name(name: str, depth: int) -> None:
    """The papers count weighted layers on the longest path from input to output."""
    longest: dict[str, int] = {"data": 0}
    for layer in layers(name)[1:]:
        weighted = layer["type"][0] in ("Convolution", "InnerProduct")
        longest[layer["top"][0]] = max(longest[bottom] for bottom in layer["bottom"]) + weighted
    assert longest[layers(name)[-1]["top"][0]] == depth


@pytest.mark.parametrize(
    ("name", "convolutions", "normalised", "concats", "sums"),
    [
        ("alexnet", 5, 0, 0, 0),
        ("densenet", 121, 121, 58, 0),
        ("googlenet", 57, 0, 9, 0),
        ("inc-res-v2", 244, 204, 43, 40),
        ("inception", 149, 149, 19, 0),
        ("mobilenet", 28, 27, 0, 0),
        ("resnet18", 21, 21, 0, 8),
        ("resnet50", 53, 53, 0, 16),
        ("resnet101", 104, 104, 0, 33),
        ("resnet152", 155, 155, 0, 50),
        ("vgg16", 13, 0, 0, 0),
        ("vgg19", 16, 0, 0, 0),
    ],
)
def test_layers_by_type(name: str, convolutions: int, normalised: int, concats: int, sums: int) -> None:
    found = Counter(layer["type"][0] for layer in layers(name))
    assert (found["Convolution"], found["Concat"], found["Eltwise"]) == (convolutions, concats, sums)
    assert found["BatchNorm"] == found["Scale"] == normalised


def test_googlenet_is_cut_where_the_paper_cuts_it() -> None:
    """Indices leave out Input and Dropout, as TensorRT's do; a cut has one tensor alive."""
    kept = [layer for layer in layers("googlenet") if layer["type"][0] not in ("Input", "Dropout")]
    assert len(kept) == 141
    last_use: dict[tuple[str, int], int] = {}
    version: dict[str, int] = {"data": 0}
    made = {("data", 0): -1}
    for index, layer in enumerate(kept):
        for bottom in layer["bottom"]:
            last_use[bottom, version[bottom]] = index
        top = layer["top"][0]
        version[top] = version.get(top, -1) + 1
        made[top, version[top]] = index
    starts = {10: "inception_3a", 24: "inception_3b", 38: "pool3", 53: "inception_4b", 67: "inception_4c"}
    starts |= {81: "inception_4d", 95: "inception_4e", 110: "inception_5a", 124: "inception_5b"}
    for start, block in starts.items():
        alive = [tensor for tensor, index in made.items() if index < start <= last_use.get(tensor, -1)]
        assert len(alive) == 1, f"{start}: {alive}"
        assert kept[start]["name"][0].split("/")[0] == block


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_characterisation_convolutions(name: str) -> None:
    index, kernel = (int(digit) for digit in re.findall(r"\d", name))
    assert [layer["type"][0] for layer in layers(name)] == ["Input", "Convolution", "ReLU"]
    height, width = {1: (224, 112), 2: (112, 112), 3: (112, 56), 4: (56, 56), 5: (56, 28)}[index]
    shapes, params, _ = walk(name)
    assert shapes["data"] == (64, height, width)
    assert shapes["conv"] == (64, height + 3 - kernel, width + 3 - kernel)
    assert params == 64 * 64 * kernel**2 + 64


@pytest.mark.parametrize("name", [*PUBLISHED, *CONVOLUTIONS])
def test_the_first_line_names_the_source_and_the_generator(name: str) -> None:
    first = (ZOO / f"{name}.prototxt").read_text().splitlines()[0]
    assert re.fullmatch(r"# .+ (?:19|20)\d\d\b.*|# .+ arXiv \d{4}\.\d{5}\..*", first)
    assert first.endswith("Generated by prototxt/generate.py.")


def test_the_table_in_the_readme() -> None:
    rows = re.findall(
        r"^\| (\S+?)\.prototxt \|.*\| ([\dx]+) \| ([\d.]+) \| ([\d.]+) \|$", (ZOO / "README.md").read_text(), re.M
    )
    expected = {name: ("x".join(map(str, shape)), params, macs) for name, (shape, params, macs) in PUBLISHED.items()}
    assert {name: tuple(rest) for name, *rest in rows} == expected
