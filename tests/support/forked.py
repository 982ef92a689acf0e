"""``python -m clarus_async`` without the half second in which a process imports it: forked off one that has.

Run as a program, this stands for the command: it hands its arguments, environment, standard streams and signals to
the fork, and ends as that does.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys

_STREAMS = (0, 1, 2)
_LONGEST = 2**16


def serve(path: str) -> None:
    """Fork off a process for each that asks, for ever."""
    import importlib
    import runpy

    for name in ("cli.provision", "cli.operations", "simulator.schema", "simulator.app"):
        importlib.import_module("clarus_async." + name)
    importlib.import_module("cattrs.preconf.orjson")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        sys.stdout.write("\n")
        sys.stdout.flush()
        # Nobody waits for the processes that wait for the forks.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            asking, _ = listener.accept()
            with asking:
                if os.fork() == 0 and (asked := _begin(asking)) is not None:
                    break
    arguments, environment = asked
    sys.argv[1:] = arguments
    os.environ.clear()
    os.environ.update(environment)
    runpy.run_module("clarus_async", run_name="__main__", alter_sys=True)


def _begin(asking: socket.socket) -> tuple[list[str], dict[str, str]] | None:
    """Fork again: return what was asked in the one that does it; the other waits for it, and never returns."""
    content, streams, _, _ = socket.recv_fds(asking, _LONGEST, len(_STREAMS))
    ended, tells = socket.socketpair()
    tells.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(tells.fileno())
    child = os.fork()
    if child:
        for descriptor in (*streams, *_STREAMS):
            os.close(descriptor)
        asking.sendall(b"%d\n" % child)
        if asking in select.select([asking, ended], [], [])[0]:
            # Whoever asked is gone.
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        asking.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ended.close()
    tells.close()
    for descriptor, stream in zip(streams, _STREAMS, strict=True):
        os.dup2(descriptor, stream)
        os.close(descriptor)
    return tuple(json.loads(content))


def stand_for(path: str, arguments: list[str]) -> None:
    """Have it done elsewhere, and end as it ends."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [json.dumps([arguments, dict(os.environ)]).encode()], _STREAMS)
        # Those who read and write must see when the other one closes them.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in _STREAMS:
            os.dup2(nowhere, stream)
        with server.makefile() as said:
            child = int(said.readline())
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, lambda signum, _: os.kill(child, signum))
            status = int(said.readline())
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        stand_for(sys.argv[1], sys.argv[2:])
