"""Python processes for tests, as forks of one that has imported what takes seconds.

`Popen` takes the place of `subprocess.Popen` in tests with the marker `subprocess(warm="torch")`: the
program's own modules are imported anew in each process, from the PYTHONPATH that it is given. With
`warm="cli"` only the command layer is there already, and nothing that is heavy.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

Usual = subprocess.Popen
IMPORTED = {
    "torch": ("numpy", "PIL.Image", "safetensors.torch", "torch.distributed"),
    "cli": ("styleclip_cli.cli.app", "typer.rich_utils"),
}


class Popen(Usual):
    """As subprocess.Popen, but Python is forked; `-c`, `-m` and scripts are its only options."""

    warm = "torch"
    _ended: socket.socket | None = None
    """Where the process's id is told, and its status when it has ended."""

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, *others: Any) -> None:
        if isinstance(args, str) or os.fspath(args[0]) != sys.executable:
            return super()._execute_child(args, executable, preexec_fn, *others)  # type: ignore[misc]
        _, _, cwd, env, _, _, _, *pipes = others[:13]
        assert preexec_fn is None, "nothing of the test runs in the fork"
        asked = {
            "arguments": [os.fspath(one) for one in args[1:]],
            "folder": os.fspath(cwd or Path.cwd()),
            "environment": dict(os.environ if env is None else env),
            "group": others[-1],
        }
        streams = [own if one == -1 else one for own, one in enumerate([pipes[0], pipes[3], pipes[5]])]
        self._ended = socket.socket(socket.AF_UNIX)
        self._ended.connect(_server(self.warm))
        socket.send_fds(self._ended, [b" "], streams)
        self._ended.sendall(json.dumps(asked).encode())
        self._ended.shutdown(socket.SHUT_WR)
        self.pid = _told(self._ended)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if self._ended is None:
            return super()._try_wait(flags)  # type: ignore[misc]
        if flags & os.WNOHANG and not select.select([self._ended], [], [], 0)[0]:
            return 0, 0
        with self._ended:
            return self.pid, _told(self._ended)

    def _internal_poll(self, *others: Any, **named: Any) -> int | None:
        if self._ended is None:
            return super()._internal_poll(*others, **named)  # type: ignore[misc]
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode


class LightPopen(Popen):
    """Of processes that have imported the command layer only."""

    warm = "cli"


def popen(warm: str) -> type[Popen]:
    """What starts processes in which that is imported."""
    return {"torch": Popen, "cli": LightPopen}[warm]


def _told(connection: socket.socket) -> int:
    said = connection.recv(8, socket.MSG_WAITALL)
    if len(said) < 8:
        raise RuntimeError("the process that is forked has ended")
    return int.from_bytes(said, "little")


@cache
def _server(warm: str) -> str:
    """Where the process listens that is forked; it ends when this one does."""
    path = tempfile.mkdtemp(prefix="warm", dir="/tmp") + "/socket"  # the name of a socket is short
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    until, _ = os.pipe()  # its other end is closed when this process ends
    Usual(
        [sys.executable, __file__, str(listener.fileno()), path, *IMPORTED[warm]],
        stdin=until,
        pass_fds=[listener.fileno()],
        start_new_session=True,
    ).returncode = 0  # nobody waits for it
    os.close(until)
    listener.close()
    return path


def _serve(listener: socket.socket, path: str, *modules: str) -> dict[str, Any]:
    """Fork for whoever connects, until the tests have ended; returns in each fork, with what it is to do."""
    for name in modules:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while listener in select.select([listener, 0], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _forked(listener, connection)
        connection.close()
    shutil.rmtree(Path(path).parent)
    sys.exit()


def _forked(listener: socket.socket, connection: socket.socket) -> dict[str, Any]:
    """Fork once more, and tell how that ends."""
    listener.close()
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    asked = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    child = os.fork()
    if child:
        for stream in streams:
            os.close(stream)
        connection.sendall(child.to_bytes(8, "little"))
        status = os.waitpid(child, 0)[1]
        with suppress(BrokenPipeError):  # nobody wants to know
            connection.sendall(status.to_bytes(8, "little"))
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return json.loads(asked)


def _run(asked: dict[str, Any]) -> None:
    """What Python does with its arguments."""
    if asked["group"] != -1:
        os.setpgid(0, asked["group"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    first, *others = asked["arguments"]
    given = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.path[:1] = [str(Path(first).parent) if first[0] != "-" else "", *given]
    if first == "-c":
        sys.argv = ["-c", *others[1:]]
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(others[0], "<string>", "exec"), vars(main))
    elif first == "-m":
        sys.argv = others
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *others]
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    _run(_serve(socket.socket(fileno=int(sys.argv[1])), *sys.argv[2:]))
