"""Command line of the networks part: describe a network, or convert a prototxt to ONNX."""

import argparse
import json
import signal
from pathlib import Path

from multidnn.errors import InputError, exit_on_input_error
from multidnn.networks import GROUP_COUNT, SEED, choose_groups, describe, load


def main() -> None:
    """Run ``python -m multidnn.networks``."""
    parser = argparse.ArgumentParser(prog="python -m multidnn.networks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    describing = commands.add_parser("describe", help="print layers, cuts, groups, parameters and MACs as JSON")
    describing.add_argument("file", type=Path, help="a .prototxt or an .onnx file")
    describing.add_argument(
        "--groups", type=int, default=None, metavar="N", help=f"how many groups at most (default {GROUP_COUNT})"
    )
    converting = commands.add_parser("convert", help="write the network as one ONNX file")
    converting.add_argument("file", type=Path, help="a .prototxt or an .onnx file")
    converting.add_argument("--out", type=Path, required=True, metavar="X.onnx", help="the ONNX file to write")
    converting.add_argument(
        "--seed", type=int, default=SEED, metavar="N", help=f"seed of the random weights (default {SEED})"
    )
    arguments = parser.parse_args()
    with exit_on_input_error():
        if arguments.command == "describe":
            network = load(arguments.file)
            print(json.dumps(describe(network, choose_groups(network, arguments.groups)), indent=1))
            return
        # onnx is imported here and not above, so that --help answers at once
        from multidnn.networks.exporting import convert

        if arguments.out.suffix != ".onnx":
            raise InputError(f"{arguments.out}: found suffix {arguments.out.suffix!r}, the output is an .onnx file")
        convert(load(arguments.file, seed=arguments.seed), arguments.out)


if __name__ == "__main__":
    # a reader that has seen enough, such as head, ends this program as it ends any filter
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    main()
