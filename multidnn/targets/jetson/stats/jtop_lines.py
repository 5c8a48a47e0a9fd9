"""Print one JSON object per sample of jtop, until standard input closes or SIGTERM comes: python3 jtop_lines.py.

Runs on the board: Python 3.8, jtop (jetson-stats 4.3 to 7.2) and the standard library. The object has
``t_ns`` (CLOCK_MONOTONIC), ``emc`` (``val`` percent of ``cur``; ``cur``, ``max``, ``min`` in kHz; absent where jtop's
service cannot read it), ``power_mw`` (rail to mW), ``engines`` (group to engine to ``online``, ``cur`` in kHz),
``gpu_load`` (percent per GPU), ``nvpmodel`` (``id``, ``name``; absent where there is none) and ``jetson_clocks``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from typing import Any

RESTART = "sudo systemctl restart jtop.service"
GROUP = "sudo usermod -aG jtop $USER"
UPDATE = "sudo pip3 install -U jetson-stats"


def rails(power: dict[str, Any]) -> dict[str, int]:
    """Return mW by rail: jtop takes the rail of the whole input (VDD_IN) out of the others and keeps it apart, named."""
    found = {name: rail["power"] for name, rail in power.get("rail", {}).items()}
    total = power.get("tot", {})
    if total.get("name") and "power" in total:
        found[total["name"]] = total["power"]
    return found


def sample(board: Any) -> dict[str, Any]:
    """Return one sample of `board`, a connected jtop, as a dictionary."""
    entry = {
        "t_ns": time.monotonic_ns(),
        "power_mw": rails(board.power or {}),
        "engines": {
            group: {
                name: {key: state[key] for key in ("online", "cur") if key in state} for name, state in engines.items()
            }
            for group, engines in board.engine.items()
        },
        "gpu_load": {name: gpu.get("status", {}).get("load") for name, gpu in board.gpu.items()},
        "jetson_clocks": None if board.jetson_clocks is None else bool(board.jetson_clocks),
    }
    # there and empty where the counter or its clock could not be read
    if board.memory.get("EMC"):
        emc = board.memory["EMC"]
        entry["emc"] = {key: emc[key] for key in ("val", "cur", "max", "min") if key in emc}
    if board.nvpmodel is not None:
        entry["nvpmodel"] = {"id": board.nvpmodel.id, "name": board.nvpmodel.name}
    return entry


def advice(error: Exception) -> str:
    """Return one line that says what is wrong and which command mends it."""
    said = " ".join(str(error).split())
    if isinstance(error, ImportError):
        return f"jtop is not installed ({said}); run: {UPDATE}"
    if "Mismatch version" in said:
        return f"{said.split('. Please run')[0]}; run: {UPDATE} && {RESTART}"
    if "Python versions" in said:
        return f"{said}; install it for the Python that runs the service: {UPDATE} && {RESTART}"
    if isinstance(error, PermissionError) or "access jtop.service" in said:
        return f"no permission to talk to jtop.service; run: {GROUP} and log in again"
    if isinstance(error, (FileNotFoundError, ConnectionRefusedError)) or "not active" in said:
        other = " (if there is no such unit: sudo jtop --install-service)" if "install-service" in said else ""
        return f"jtop.service is not active; run: {RESTART}{other}"
    return f"{said or type(error).__name__}; run: {RESTART}"


def main() -> None:
    """Run the program; exit code 1 and one line on standard error if jtop cannot be used."""
    parser = argparse.ArgumentParser(description="print samples of jtop as JSON lines until standard input closes")
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds between samples (default 1)")
    arguments = parser.parse_args()
    if not 0 < arguments.interval <= 3600:
        parser.error(f"--interval is {arguments.interval:g}, expected seconds above 0, at most 3600")
    stop = threading.Event()
    connected = threading.Event()

    def end(number: int, frame: Any) -> None:
        stop.set()
        # connecting may wait for ever on a service that hangs; once connected, jtop waits no longer than three intervals
        if not connected.is_set():
            sys.exit(0)

    main_thread = threading.get_ident()

    def watch() -> None:
        # not sys.stdin, whose lock this thread would hold when the interpreter shuts down
        while os.read(0, 4096):
            pass
        signal.pthread_kill(main_thread, signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=watch, daemon=True).start()
    try:
        from jtop import jtop

        with jtop(interval=arguments.interval) as board:
            connected.set()
            while not stop.is_set() and board.ok():
                print(json.dumps(sample(board)), flush=True)
        if not stop.is_set():
            raise RuntimeError("jtop.service has fallen silent")
    except BrokenPipeError:
        # whoever read the samples is gone, and there is nobody to tell; keep the interpreter from trying to
        sys.stderr.close()
        sys.exit(0)
    # whatever a library on somebody's board raises becomes one line
    except Exception as error:
        print("error: " + advice(error), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
