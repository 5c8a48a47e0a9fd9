"""Writes site/standin_board/networks.json: the networks that have recorded times, layer by layer.

    uv run python tests/standin/make_networks.py

Per layer: name, weight (microseconds of a plain roofline, by which a group's recorded time is spread over its layers; 0
for what a GPU fuses away) and number of output values (which tells networks apart that call their layers alike).
"""

import json
from pathlib import Path

from multidnn.networks.loading import load

HERE = Path(__file__).resolve().parent
PROTOTXT = HERE.parents[1] / "prototxt"
FUSED_AWAY = ("BatchNormalization", "Concat", "Flatten", "Reshape", "Identity", "Dropout")
COMMENT = (
    "STAND-IN. starts: first layer of each recorded group, in the indices of `python -m multidnn.networks describe`. "
    "GoogleNet's are the artifact's own (TensorRT indices without Input and Dropout are ours). AlexNet's eight groups start "
    "at fused TensorRT layers in the artifact (0 2 3 5 7 9 11 14); ours are the legal cuts that fit the recorded times: conv1 "
    "and norm1, pool1, conv2 and norm2, pool2 and conv3, conv4 and conv5, pool5 and fc6, fc7, fc8 and prob; the last three "
    "times (.70 .32 .10 ms) are as fc6, fc7 and fc8 have weights (37.8, 16.8 and 4.1 M). ResNet101's ten groups are those "
    "that `describe` gives."
)
STARTS = {
    "googlenet": [0, 10, 24, 38, 53, 67, 81, 95, 110, 124],
    "alexnet": [0, 3, 4, 7, 10, 14, 18, 20],
    "resnet101": [0, 26, 48, 78, 110, 150, 190, 230, 270, 310],
}


def main() -> None:
    networks = {}
    for name, starts in STARTS.items():
        network = load(PROTOTXT / f"{name}.prototxt", seed=2024, name=name)
        layers = []
        for layer in network.layers:
            traffic = layer.activation_bytes + sum(network.weights[weight].nbytes for weight in layer.weights)
            weight = 0.0 if layer.type in FUSED_AWAY else max(layer.macs / 2.2e6, traffic / 2 / 90e3) + 0.5
            elements = 1
            for size in network.shapes[layer.outputs[0]]:
                elements *= size
            layers.append([layer.name, round(weight, 2), elements])
        networks[name] = {"starts": starts, "layers": layers}
    text = json.dumps({"comment": COMMENT, **networks}, separators=(",", ":"))
    path = HERE / "site" / "standin_board" / "networks.json"
    path.write_text(text.replace('"layers":', '\n"layers":').replace("},", "},\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
