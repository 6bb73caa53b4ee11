"""`styleclip studio`: a page on this machine to edit faces while one looks."""

from __future__ import annotations

import os
import threading
import webbrowser
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from styleclip_cli.cli import completion, options
from styleclip_cli.cli.packs import network
from styleclip_cli.cli.report import Reporter
from styleclip_cli.errors import OutputError, UsageError
from styleclip_cli.job import values

if TYPE_CHECKING:
    import socket

_of_page = partial(typer.Option, rich_help_panel="Page")


def studio(
    port: Annotated[int, _of_page(min=0, max=65535, help="Port; 0 takes any free one.")] = 8765,
    host: Annotated[
        str,
        _of_page(
            help="Address to listen on. Any address but 127.0.0.1 lets other machines in, without a password."
        ),
    ] = "127.0.0.1",
    browser: Annotated[bool, _of_page(help="Open the page in the default browser.")] = True,
    max_megabytes: Annotated[
        float, options.of_photos(min=0.001, max=2000, help="Refuse larger photo files.")
    ] = 25,
    max_megapixels: options.MaxMegapixels = 100,
    direction: Annotated[
        list[Path] | None,
        options.of_edit(
            "--direction",
            metavar="FILE",
            autocompletion=completion.directions,
            help="A direction that the page offers (see find-direction); may be repeated. Others can be "
            "dropped on it.",
            show_default=False,
        ),
    ] = None,
    models: options.Models = None,
    offline: options.Offline = False,
    device: options.Device = "auto",
    precision: options.PrecisionOption = "fp32",
    no_kernels: options.NoKernels = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Open the studio, a local web page for editing faces interactively.

    Nothing leaves this machine. Photos are forgotten when the page is closed; Ctrl-C stops the server.
    Without a model pack, the page offers to download one.

    Example: styleclip studio --models toy

    Example: styleclip studio --direction age.npz --direction eyes.npz
    """
    reporter = Reporter(quiet)
    values.check_device(device)
    if find_spec("nicegui") is None:
        raise UsageError("the studio needs the package nicegui", 'pip install "styleclip-cli[studio]"')
    name, offered = _packs(models)
    with _listening(host, port) as listener:
        from styleclip_cli.engine import Engine
        from styleclip_cli.studio.fetching import Fetching
        from styleclip_cli.studio.guard import is_loopback
        from styleclip_cli.studio.server import Studio, serve

        if not is_loopback(host):
            reporter.note(
                f"warning: {host} can be reached from other machines: whoever reaches it can use the studio"
            )
        how = network(offline or not is_loopback(host))  # strangers download nothing, and accept no licence
        make = partial(Engine, device=device, precision=precision)
        shared = Studio(
            make,
            Fetching(offered, how),
            round(max_megabytes * 2**20),
            round(max_megapixels * 1e6),
            reporter.progress,
            tuple(direction or ()),
        )
        if name is None:
            reporter.note(f"the model pack {offered} is not installed: the page offers it")
        else:
            shared.load(name)
        shown = "127.0.0.1" if host == "0.0.0.0" else "[::1]" if host == "::" else host
        shown = f"[{shown}]" if ":" in shown and not shown.startswith("[") else shown
        url = f"http://{shown}:{listener.getsockname()[1]}/"

        def ready() -> None:
            reporter.result(url)
            reporter.note("Ctrl-C ends the studio")
            if browser:  # some browsers answer when they are closed again
                threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()

        serve(shared, listener, host, ready)


def _packs(models: str | None) -> tuple[str | None, str]:
    """The pack to begin with, None if it is not installed; and the one that the page offers.

    Raises:
        WeightsError: If there is no pack of that name.
    """
    from styleclip_cli.weights import packs

    name = models if models is not None else packs.default_name()
    if name is None:
        return None, packs.USUAL
    if not packs.find_pack(name).usable:
        return None, name
    return name, packs.USUAL


def _listening(host: str, port: int) -> socket.socket:
    """Take the port now: if it cannot be had, nothing was loaded in vain.

    Raises:
        UsageError: If the host is none of this machine's.
        OutputError: If the port is taken.
    """
    import socket

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise UsageError(f"no address for --host {host!r}", "--host 127.0.0.1") from None
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let others take the port away
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise OutputError(
            f"cannot listen on {host}, port {port} ({error.strerror})", "--port 0 takes one that is free"
        ) from None
    return listener
