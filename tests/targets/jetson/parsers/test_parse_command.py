"""`python -m multidnn.targets.jetson parse KIND FILE`: JSON or one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from multidnn.targets.jetson.__main__ import KINDS, main, parsed
from tests.targets.jetson.parsers.helpers import SAMPLES

ROOT = Path(__file__).parents[4]
EXAMPLES = {
    "trtexec-log": "trtexec-10.3.log",
    "profile": "trtexec-8.5-profile.log",
    "times": "times-7.1.json",
    "layer-info": "layer-info-8.6.json",
    "build-log": "build-8.6.log",
    "tegrastats": "tegrastats-l4t36.log",
    "jtop": "jtop-4.3.jsonl",
}


class Command:
    """The command line within this process, which saves starting Python for every line."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def error(self, *arguments: str | Path) -> str:
        """Return the one line that the command prints, which must fail."""
        self.monkeypatch.setattr(sys, "argv", ["jetson", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, errors = self.capsys.readouterr()
        assert (ended.value.code, out) == (1, "")
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1, errors
        return errors


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["jetson", "parse", kind, str(SAMPLES / EXAMPLES[kind])])
    main()
    out, errors = capsys.readouterr()
    assert errors == ""
    document = json.loads(out)
    assert (document["format"], document["kind"]) == (1, kind)
    assert str(SAMPLES) not in out


def test_as_a_program() -> None:
    arguments = [sys.executable, "-m", "multidnn.targets.jetson", "parse", "times"]
    done = subprocess.run(
        [*arguments, SAMPLES / "times-7.1.json"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(done.stdout)["inferences"][0]["latency_ms"] == 4.125
    failed = subprocess.run([*arguments, "absent"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (failed.returncode, failed.stdout, failed.stderr) == (1, "", "error: absent: no such file\n")


def test_the_fields_are_those_of_the_documentation() -> None:
    """Every key that is printed is a word of the section in docs/formats.md."""
    text = (ROOT / "docs" / "formats.md").read_text()
    section = text[text.index("## Logs of a Jetson") :]

    def keys(value: object, under: str = "") -> set[str]:
        if isinstance(value, dict):
            # names of rails, engines and percentages are data
            named = under not in ("percentiles", "power", "power_mw", "dla", "engines", "gpu_load", "DLA0", "APE")
            return {key for key in value if named} | {k for key, entry in value.items() for k in keys(entry, key)}
        return {key for entry in value for key in keys(entry)} if isinstance(value, list) else set()

    for kind, name in EXAMPLES.items():
        for key in keys(parsed(kind, SAMPLES / name)):
            assert f"`{key}`" in section, (kind, key)


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_none(command: Command, kind: str, tmp_path: Path) -> None:
    empty, binary, noise = tmp_path / "empty", tmp_path / "binary", tmp_path / "noise"
    empty.write_text("")
    binary.write_bytes(bytes(range(256)) * 10)
    noise.write_bytes(b"abc\0\n")
    assert f"{empty}:1: the file is empty" in command.error("parse", kind, empty)
    assert f"{binary}: cannot be read as text" in command.error("parse", kind, binary)
    assert f"{noise}:1: found a zero byte" in command.error("parse", kind, noise)
    assert f"{tmp_path / 'absent'}: no such file" in command.error("parse", kind, tmp_path / "absent")
    assert f"{tmp_path}: cannot be read" in command.error("parse", kind, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files(command: Command, kind: str, tmp_path: Path) -> None:
    # the log with a profile goes on after it
    text = (SAMPLES / ("profile-10.3.json" if kind == "profile" else EXAMPLES[kind])).read_text()
    cut = tmp_path / "cut"
    # within the last line that says something
    cut.write_text(text[: text.rstrip("]}\n ").rindex("\n") + 4])
    assert f"error: {cut}:" in command.error("parse", kind, cut)


@pytest.mark.parametrize("kind", KINDS)
def test_another_kinds_file(command: Command, kind: str) -> None:
    other = {"trtexec-log": "jtop", "profile": "trtexec-log", "build-log": "times"}.get(kind, "build-log")
    name = "trtexec-8.2.log" if other == "trtexec-log" else EXAMPLES[other]
    assert f"error: {SAMPLES / name}:" in command.error("parse", kind, SAMPLES / name)


def test_unknown_kind(command: Command) -> None:
    message = command.error("parse", "tegrastat", SAMPLES / "jtop-4.3.jsonl")
    assert "tegrastat: unknown kind (did you mean 'tegrastats'?); allowed: trtexec-log, profile," in message


@pytest.mark.parametrize("kind", ["profile", "times", "layer-info", "jtop"])
@pytest.mark.parametrize("text", ["[" + "[" * 100000, '[{"count": ' + "9" * 5000 + "}]", '{"Layers": ' + "[" * 100000])
def test_json_beyond_what_is_readable(command: Command, kind: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "deep"
    path.write_text(text)
    assert f"error: {path}:1: " in command.error("parse", kind, path)
