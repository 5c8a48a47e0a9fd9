"""Write the zoo: twelve published networks and the 25 characterisation convolutions, as Caffe deploy prototxt.

``python prototxt/generate.py`` rewrites the files beside this script; ``--check`` only compares and exits with 1 when
one differs. Every family below is one function that follows its paper; the first line of its docstring becomes the
first line of the file.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from deploy import Net, Size

from multidnn.files import write_text


def alexnet() -> Net:
    """AlexNet (grouped, LRN): Krizhevsky et al., ImageNet Classification with Deep CNNs, NeurIPS 2012."""
    net = Net("AlexNet", 1, 3, 227, 227)
    x = net.relu(net.conv("data", "conv1", 96, 11, stride=4), "relu1")
    x = net.pool(net.lrn(x, "norm1"), "pool1", "MAX", 3, 2)
    x = net.relu(net.conv(x, "conv2", 256, 5, pad=2, group=2), "relu2")
    x = net.pool(net.lrn(x, "norm2"), "pool2", "MAX", 3, 2)
    x = net.relu(net.conv(x, "conv3", 384, 3, pad=1), "relu3")
    x = net.relu(net.conv(x, "conv4", 384, 3, pad=1, group=2), "relu4")
    x = net.relu(net.conv(x, "conv5", 256, 3, pad=1, group=2), "relu5")
    x = net.pool(x, "pool5", "MAX", 3, 2)
    x = net.inner_drop(net.inner_drop(x, 6, 4096), 7, 4096)
    net.softmax(net.inner(x, "fc8", 1000))
    return net


def vgg_features(net: Net, depths: list[int]) -> str:
    """Add the five blocks of 3x3 convolutions, all but the last closed by a pool."""
    x = "data"
    for block, depth in enumerate(depths, 1):
        x = net.pool(x, f"pool{block - 1}", "MAX", 2, 2) if block > 1 else x
        for index in range(1, depth + 1):
            name = f"{block}_{index}"
            x = net.conv_relu(x, f"conv{name}", f"relu{name}", min(64 * 2 ** (block - 1), 512), 3, pad=1)
    return x


def vgg16() -> Net:
    """VGG16: Simonyan, Zisserman, Very Deep Convolutional Networks, ICLR 2015, arXiv 1409.1556, configuration D."""
    net = Net("VGG16", 1, 3, 224, 224)
    x = net.pool(vgg_features(net, [2, 2, 3, 3, 3]), "pool5", "MAX", 2, 2)
    x = net.inner_drop(net.inner_drop(x, 6, 4096), 7, 4096)
    net.softmax(net.inner(x, "fc8", 1000))
    return net


def vgg19() -> Net:
    """VGG19, configuration E of arXiv 1409.1556 (ICLR 2015), with the 100-class head of the HaX-CoNN artifact.

    That head pools 14x14 to 4x4 with 8x8 windows and has two inner products of 100, in place of VGG's three large ones.
    """
    net = Net("VGG19", 1, 3, 224, 224)
    x = net.pool(vgg_features(net, [2, 2, 4, 4, 4]), "pool5", "MAX", 8, 2)
    net.softmax(net.inner(net.inner_drop(x, 7, 100), "fc8", 100))
    return net


def googlenet() -> Net:
    """GoogLeNet (Inception v1, no auxiliary heads): Szegedy et al., Going Deeper with Convolutions, CVPR 2015."""
    net = Net("GoogleNet", 1, 3, 224, 224)
    x = net.conv_relu("data", "conv1/7x7_s2", "conv1/relu_7x7", 64, 7, stride=2, pad=3)
    x = net.lrn(net.pool(x, "pool1/3x3_s2", "MAX", 3, 2), "pool1/norm1")
    x = net.conv_relu(x, "conv2/3x3_reduce", "conv2/relu_3x3_reduce", 64, 1)
    x = net.lrn(net.conv_relu(x, "conv2/3x3", "conv2/relu_3x3", 192, 3, pad=1), "conv2/norm2")
    x = net.pool(x, "pool2/3x3_s2", "MAX", 3, 2)
    # the paper's table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
    table = {
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }
    for name, widths in table.items():
        x = googlenet_block(net, x, f"inception_{name}", *widths)
        if name in ("3b", "4e"):
            x = net.pool(x, f"pool{name[0]}/3x3_s2", "MAX", 3, 2)
    x = net.dropout(net.pool(x, "pool5/7x7_s1", "AVE", 7), "pool5/drop_7x7_s1", 0.4)
    net.softmax(net.inner(x, "loss3/classifier", 1000))
    return net


def googlenet_block(
    net: Net, x: str, name: str, one: int, reduce3: int, three: int, reduce5: int, five: int, proj: int
) -> str:
    def unit(x: str, part: str, out: int, kernel: int = 1) -> str:
        return net.conv_relu(x, f"{name}/{part}", f"{name}/relu_{part}", out, kernel, pad=kernel // 2)

    a = unit(x, "1x1", one)
    b = unit(unit(x, "3x3_reduce", reduce3), "3x3", three, 3)
    c = unit(unit(x, "5x5_reduce", reduce5), "5x5", five, 5)
    d = unit(net.pool(x, f"{name}/pool", "MAX", 3, pad=1), "pool_proj", proj)
    return net.concat([a, b, c, d], f"{name}/output")


def resnet(depth: int, blocks: list[int]) -> Net:
    """ResNet: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv 1512.03385.

    As its authors published it for Caffe: a bottleneck's stride is in its first 1x1, ResNet50's conv1 has a bias, and
    ResNet18 projects the first shortcut too.
    """
    net = Net(f"ResNet{depth}", 1, 3, 224, 224)
    x = net.conv("data", "conv1", 64, 7, stride=2, pad=3, bias=depth == 50)
    x = net.relu(net.norm(x, x, "bn_conv1", "scale_conv1"), "conv1_relu")
    x = net.pool(x, "pool1", "MAX", 3, 2)
    for stage, count in enumerate(blocks, 2):
        # two letters do not reach for the long stages: res4a, res4b1, res4b2, ...
        numbered = depth > 50 and stage in (3, 4)
        for index in range(count):
            name = f"{stage}b{index}" if numbered and index else f"{stage}{'abcdef'[index]}"
            width, stride = 64 * 2 ** (stage - 2), 2 if index == 0 and stage > 2 else 1
            parts = [(width, 1), (width, 3), (width * 4, 1)] if depth >= 50 else [(width, 3), (width, 3)]
            x = resnet_block(net, x, name, parts, stride, project=index == 0)
    net.softmax(net.inner(net.pool(x, "pool5", "AVE", 7), "fc1000", 1000))
    return net


def resnet_block(net: Net, x: str, name: str, parts: list[tuple[int, int]], stride: int, project: bool) -> str:
    """Add the convolutions `parts` (outputs, kernel), each normalised, around a shortcut."""

    def conv_bn(x: str, part: str, out: int, kernel: int, stride: int) -> str:
        x = net.conv(x, f"res{part}", out, kernel, stride, kernel // 2, bias=False)
        return net.norm(x, x, f"bn{part}", f"scale{part}")

    shortcut = conv_bn(x, f"{name}_branch1", parts[-1][0], 1, stride) if project else x
    for index, (out, kernel) in enumerate(parts):
        part = f"{name}_branch2{'abc'[index]}"
        x = net.relu(x, f"res{name}_branch2{'abc'[index - 1]}_relu") if index else x
        x = conv_bn(x, part, out, kernel, 1 if index else stride)
    return net.relu(net.add(shortcut, x, f"res{name}"), f"res{name}_relu")


def mobilenet() -> Net:
    """MobileNet v1: Howard et al., MobileNets: Efficient CNNs for Mobile Vision Applications, arXiv 1704.04861."""
    net = Net("MobileNet", 1, 3, 224, 224)
    x, width = net.unit("data", "conv1", 32, 3, stride=2, pad=1), 32
    plan = {"2_1": (64, 1), "2_2": (128, 2), "3_1": (128, 1), "3_2": (256, 2), "4_1": (256, 1), "4_2": (512, 2)}
    plan |= {f"5_{index}": (512, 1) for index in range(1, 6)} | {"5_6": (1024, 2), "6": (1024, 1)}
    for name, (out, stride) in plan.items():
        x = net.unit(x, f"conv{name}/dw", width, 3, stride, pad=1, group=width)
        x, width = net.unit(x, f"conv{name}/sep", out, 1), out
    net.softmax(net.conv(net.pool(x, "pool6", "AVE", 0), "fc7", 1000, 1))
    return net


def densenet() -> Net:
    """DenseNet-121 (growth 32): Huang et al., Densely Connected Convolutional Networks, CVPR 2017, arXiv 1608.06993.

    The Caffe release ends with the classifier, without a Softmax.
    """
    net = Net("DenseNet121", 1, 3, 224, 224)
    growth, width = 32, 64

    def norm_relu(x: str, name: str) -> str:
        return net.relu(net.norm(x, f"{name}/bn", f"{name}/bn", f"{name}/scale"), f"{name}/relu")

    def pre_unit(x: str, name: str, out: int, kernel: int) -> str:
        return net.conv(norm_relu(x, name), name, out, kernel, pad=kernel // 2, bias=False)

    x = net.pool(net.unit("data", "conv1", width, 7, 2, 3), "pool1", "MAX", 3, 2, pad=1)
    for block, count in enumerate([6, 12, 24, 16], 2):
        for index in range(1, count + 1):
            name = f"conv{block}_{index}"
            new = pre_unit(pre_unit(x, f"{name}/x1", 4 * growth, 1), f"{name}/x2", growth, 3)
            x, width = net.concat([x, new], f"concat_{block}_{index}"), width + growth
        if block < 5:
            width //= 2
            x = net.pool(pre_unit(x, f"conv{block}_blk", width, 1), f"pool{block}", "AVE", 2, 2)
    net.conv(net.pool(norm_relu(x, "conv5_blk"), "pool5", "AVE", 0), "fc6", 1000, 1)
    return net


# outputs and kernel of a unit that keeps its input's size; with a stride, one without padding (V in the papers' figures)
Step = tuple[int, Size] | tuple[int, Size, int]


def branch(net: Net, x: str, name: str, *steps: Step) -> str:
    """Add a chain of units, named after their place and kernel."""
    for index, (out, kernel, *valid) in enumerate(steps, 1):
        height, width = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        pad = 0 if valid else (height // 2 if height == width else (height // 2, width // 2))
        stride = valid[0] if valid else 1
        x = net.unit(x, f"{name}{index}_{height}x{width}", out, kernel, stride, pad, eps=0.001)
    return x


def inception_block(net: Net, x: str, name: str, *branches: list[Step], project: int = 0) -> str:
    """Concatenate `branches` and a pool: 3x3 average and a projection, or, without one, the halving 3x3 maximum."""
    tops = [branch(net, x, f"{name}/{'abc'[index]}", *steps) for index, steps in enumerate(branches)]
    if project:
        pooled = net.pool(x, f"{name}/pool", "AVE", 3, pad=1)
        return net.concat([*tops, branch(net, pooled, f"{name}/pool_proj", (project, 1))], f"{name}/output")
    return net.concat([*tops, net.pool(x, f"{name}/pool", "MAX", 3, 2)], f"{name}/output")


def inception_head(net: Net, x: str) -> Net:
    x = net.dropout(net.pool(x, "pool_8x8_s1", "AVE", 8), "pool_8x8_s1_drop", 0.2)
    net.softmax(net.inner(x, "classifier", 1000))
    return net


def inception() -> Net:
    """Inception v4: Szegedy et al., Inception-v4, Inception-ResNet and the Impact of Residual Connections, AAAI 2017."""
    net = Net("InceptionV4", 1, 3, 299, 299)
    x = branch(net, "data", "conv", (32, 3, 2), (32, 3, 1), (64, 3))
    x = inception_block(net, x, "stem1", [(96, 3, 2)])
    a = branch(net, x, "stem2/a", (64, 1), (96, 3, 1))
    b = branch(net, x, "stem2/b", (64, 1), (64, (7, 1)), (64, (1, 7)), (96, 3, 1))
    x = inception_block(net, net.concat([a, b], "stem2/output"), "stem3", [(192, 3, 2)])
    for index in range(1, 5):
        branches_a: list[list[Step]] = [[(96, 1)], [(64, 1), (96, 3)], [(64, 1), (96, 3), (96, 3)]]
        x = inception_block(net, x, f"inception_a{index}", *branches_a, project=96)
    x = inception_block(net, x, "reduction_a", [(384, 3, 2)], [(192, 1), (224, 3), (256, 3, 2)])
    for index in range(1, 8):
        single: list[Step] = [(192, 1), (224, (1, 7)), (256, (7, 1))]
        double: list[Step] = [(192, 1), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))]
        x = inception_block(net, x, f"inception_b{index}", [(384, 1)], single, double, project=128)
    shrink: list[Step] = [(256, 1), (256, (1, 7)), (320, (7, 1)), (320, 3, 2)]
    x = inception_block(net, x, "reduction_b", [(192, 1), (192, 3, 2)], shrink)
    for index in range(1, 4):
        x = inception_c(net, x, f"inception_c{index}")
    return inception_head(net, x)


def inception_c(net: Net, x: str, name: str) -> str:
    """The block of the 8x8 grid, whose second and third branch end in a fork of 1x3 and 3x1."""
    tops = [branch(net, x, f"{name}/a", (256, 1))]
    stems: dict[str, list[Step]] = {"b": [(384, 1)], "c": [(384, 1), (448, (1, 3)), (512, (3, 1))]}
    for letter, steps in stems.items():
        stem = branch(net, x, f"{name}/{letter}", *steps)
        tops += [branch(net, stem, f"{name}/{letter}_fork", (256, kernel)) for kernel in ((1, 3), (3, 1))]
    pooled = net.pool(x, f"{name}/pool", "AVE", 3, pad=1)
    return net.concat([*tops, branch(net, pooled, f"{name}/pool_proj", (256, 1))], f"{name}/output")


def inc_res_v2() -> Net:
    """Inception-ResNet v2, after the network its authors released: Szegedy et al., AAAI 2017, arXiv 1602.07261."""
    net = Net("InceptionResNetV2", 1, 3, 299, 299)
    x = net.pool(branch(net, "data", "conv", (32, 3, 2), (32, 3, 1), (64, 3)), "pool1", "MAX", 3, 2)
    x = net.pool(branch(net, x, "stem", (80, 1), (192, 3, 1)), "pool2", "MAX", 3, 2)
    first: list[list[Step]] = [[(96, 1)], [(48, 1), (64, 5)], [(64, 1), (96, 3), (96, 3)]]
    x = inception_block(net, x, "mixed", *first, project=64)
    for index in range(1, 11):
        x = residual(
            net, x, f"residual_a{index}", 320, 0.17, [(32, 1)], [(32, 1), (32, 3)], [(32, 1), (48, 3), (64, 3)]
        )
    x = inception_block(net, x, "reduction_a", [(384, 3, 2)], [(256, 1), (256, 3), (384, 3, 2)])
    for index in range(1, 21):
        x = residual(net, x, f"residual_b{index}", 1088, 0.1, [(192, 1)], [(128, 1), (160, (1, 7)), (192, (7, 1))])
    last: list[list[Step]] = [[(256, 1), (384, 3, 2)], [(256, 1), (288, 3, 2)], [(256, 1), (288, 3), (320, 3, 2)]]
    x = inception_block(net, x, "reduction_b", *last)
    for index in range(1, 11):
        # the last block adds unscaled and has no ReLU
        scale = 0.2 if index < 10 else 1
        x = residual(net, x, f"residual_c{index}", 2080, scale, [(192, 1)], [(192, 1), (224, (1, 3)), (256, (3, 1))])
    return inception_head(net, branch(net, x, "last", (1536, 1)))


def residual(net: Net, x: str, name: str, width: int, scale: float, *branches: list[Step]) -> str:
    """Add `scale` times the branches, brought back to `width` by a linear 1x1 convolution, to `x`."""
    tops = [branch(net, x, f"{name}/{'abc'[index]}", *steps) for index, steps in enumerate(branches)]
    up = net.conv(net.concat(tops, f"{name}/concat"), f"{name}/up", width, 1)
    x = net.add(x, up, f"{name}/sum", scale)
    return x if scale == 1 else net.relu(x, f"{name}/relu")


def convolution(index: int, kernel: int) -> Net:
    """One of the 25 convolutions that characterise memory demand: HaX-CoNN, PPoPP 2024, arXiv 2308.05869, figure 3."""
    height, width = [(224, 112), (112, 112), (112, 56), (56, 56), (56, 28)][index - 1]
    net = Net(f"conv{index}_kernel{kernel}", 1, 64, height, width)
    net.conv_relu("data", "conv", "relu", 64, kernel, pad=1)
    return net


NETWORKS: dict[str, Callable[[], Net]] = {
    "alexnet": alexnet,
    "densenet": densenet,
    "googlenet": googlenet,
    "inc-res-v2": inc_res_v2,
    "inception": inception,
    "mobilenet": mobilenet,
    "resnet18": partial(resnet, 18, [2, 2, 2, 2]),
    "resnet50": partial(resnet, 50, [3, 4, 6, 3]),
    "resnet101": partial(resnet, 101, [3, 4, 23, 3]),
    "resnet152": partial(resnet, 152, [3, 8, 36, 3]),
    "vgg16": vgg16,
    "vgg19": vgg19,
    **{
        f"convolution/conv{index}_kernel{kernel}": partial(convolution, index, kernel)
        for index in range(1, 6)
        for kernel in range(1, 6)
    },
}


def render(name: str) -> str:
    """Return the text of the file `name`.prototxt."""
    build = NETWORKS[name]
    what = (build.func if isinstance(build, partial) else build).__doc__ or ""
    return "\n".join([f"# {what.splitlines()[0]} Generated by prototxt/generate.py.", *build().lines, ""])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the networks of the zoo as Caffe prototxt.")
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 when a file differs")
    parser.add_argument("--directory", type=Path, default=Path(__file__).parent, help="where the files go")
    options = parser.parse_args(arguments)
    paths = {options.directory / f"{name}.prototxt": render(name) for name in NETWORKS}
    if not options.check:
        for path, content in paths.items():
            write_text(path, content)
        return 0
    differing = [path for path, content in paths.items() if not path.exists() or path.read_bytes() != content.encode()]
    for path in differing:
        print(f"{path}: differs from what prototxt/generate.py writes; run it, or undo the edit", file=sys.stderr)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
