"""The stand-in board behind a real ssh server on this machine."""

import subprocess

import pytest
import standin

pytestmark = pytest.mark.skipif(standin.find_sshd() is None, reason="sshd, ssh or ssh-keygen is not installed")


def test_a_board_behind_ssh(tmp_path):
    programs = standin.install(tmp_path / "board", tensorrt="8.6.2")
    with standin.sshd(tmp_path / "ssh", path=[programs]) as server:

        def remote(command: str) -> str:
            argv = ["ssh", *server.ssh_options, server.host, command]
            return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout

        assert remote(f"{programs / 'board-python'} -c 'import tensorrt; print(tensorrt.__version__)'") == "8.6.2\n"
        # tools are on the path of a session, and nothing else of this process's environment is
        assert remote("command -v trtexec").strip() == str(programs / "trtexec")
        assert remote("nvpmodel -q; env | grep -c ^PYTHONPATH= || true").endswith("0\n0\n")
        # who has no key stays outside
        stranger = [
            "ssh",
            "-F",
            "none",
            "-p",
            str(server.port),
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
        ]
        stranger += [
            "-o",
            "UserKnownHostsFile=none",
            "-o",
            "IdentityFile=none",
            "-o",
            "IdentityAgent=none",
            server.host,
            "true",
        ]
        assert subprocess.run(stranger, capture_output=True, timeout=30, check=False).returncode == 255
    assert (
        subprocess.run(["ssh", *server.ssh_options, server.host, "true"], capture_output=True, check=False).returncode
        == 255
    )
