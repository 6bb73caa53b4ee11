"""Packs that the studio downloads: what is announced, how far it is, how it ends."""

from __future__ import annotations

import http.server
import threading
import time
from pathlib import Path

import pytest

from styleclip_cli.engine import Engine
from styleclip_cli.errors import WeightsError
from styleclip_cli.weights import packs, store
from styleclip_cli.weights.fetch import Network
from tests.studios import CUT, Hand, launched, opened, started
from tests.test_models import define, published, server  # noqa: F401  (fixtures)

pytest.importorskip("nicegui")
from styleclip_cli.studio.fetching import Fetching, in_bytes
from styleclip_cli.studio.server import Studio

Server = http.server.ThreadingHTTPServer
FAST = Network(attempts=1, backoff=0.01, connect_timeout=2.0)
RESTRICTED = {"restricted": True, "licence": "research only"}


@pytest.fixture(scope="module")
def kernels(_kernels: Path) -> Path:
    return _kernels


def finish(fetching: Fetching, accepted: bool = True) -> None:
    """Begin a download, and wait for its end."""
    ended = threading.Event()
    fetching.start(accepted, ended.set)
    assert ended.wait(60)


def test_a_pack_is_announced_accepted_and_used(server: Server, published: Path) -> None:  # noqa: F811
    define(server, published, **RESTRICTED)
    fetching = Fetching("tiny", FAST)
    cost, whole = (
        fetching.cost(),
        sum((published / f).stat().st_size for f in ("generator.pt", "e4e.pt", "clip.pt")),
    )
    assert (cost.files, cost.size, cost.unknown) == (3, whole, 0)
    assert cost.said == f"{in_bytes(whole)} (3 files)"
    assert cost.hosts == ("127.0.0.1",)
    assert cost.licence == "research only"
    assert cost.free is not None
    assert cost.free > whole
    assert cost.to_accept
    with pytest.raises(WeightsError, match="was not accepted"):
        fetching.start()
    assert server.seen == []  # type: ignore[attr-defined]
    finish(fetching)
    assert (fetching.state, fetching.problem) == ("done", "")
    assert fetching.bytes == (whole, whole)
    assert not fetching.offered
    assert not fetching.cost().to_accept
    assert store.accepted_licences() == {"tiny: research only"}

    studio = Studio(
        lambda name, progress: Engine(name, device="cpu", progress=progress), fetching, 2**20, 2**20
    )
    assert studio.open() is None  # no pack is in use yet
    studio.load("tiny")
    page = studio.open()
    assert page is not None
    assert page.session.models == "tiny"
    studio.stop()


def test_a_failure_is_a_line_and_can_be_tried_again(server: Server, published: Path) -> None:  # noqa: F811
    define(server, published)
    (server.folder / "e4e.pt").rename(server.folder / "away")  # type: ignore[attr-defined]
    (server.folder / "clip.pt").rename(server.folder / "gone")  # type: ignore[attr-defined]
    fetching = Fetching("tiny", FAST)
    finish(fetching)
    assert fetching.state == "failed"
    assert "404" in fetching.problem
    assert "\n" not in fetching.problem
    (server.folder / "gone").rename(server.folder / "clip.pt")  # type: ignore[attr-defined]
    finish(fetching)
    assert fetching.state == "done"  # it can be used, without an encoder
    assert fetching.problem.startswith("installed, but for its encoder")
    assert packs.find_pack("tiny").usable


def test_it_can_be_stopped_and_goes_on_where_it_was(server: Server, published: Path) -> None:  # noqa: F811
    define(server, published)
    server.pause = 0.05  # type: ignore[attr-defined]
    fetching, ended = Fetching("tiny", FAST), threading.Event()
    fetching.start(then=ended.set)
    for _ in range(2000):
        if fetching.bytes[0] > 0:
            break
        time.sleep(0.005)
    here, whole = fetching.bytes
    assert 0 < here < whole
    assert fetching.files == 3
    assert fetching.running
    fetching.stop()
    assert ended.wait(30)
    assert (fetching.state, fetching.problem) == (
        "failed",
        "the download was stopped (what has arrived is kept)",
    )
    server.pause = 0.0  # type: ignore[attr-defined]
    finish(fetching)
    assert fetching.state == "done"
    assert any(asked and asked != "bytes=0-" for asked in server.ranges)  # type: ignore[attr-defined]


def test_nothing_is_offered_without_a_network(server: Server, published: Path) -> None:  # noqa: F811
    define(server, published)
    assert Fetching("tiny", FAST).offered
    assert not Fetching("tiny", Network(offline=True)).offered


def test_a_pack_that_cannot_be_loaded_leaves_the_one_before() -> None:
    def make(name: str, /, *, progress: object) -> Engine:
        if name == "broken":
            raise WeightsError("it is damaged")
        return Engine(name, device="cpu")

    studio = Studio(make, Fetching("ffhq", Network(offline=True)), 2**20, 2**20)
    studio.load("toy")
    with pytest.raises(WeightsError):
        studio.load("broken")
    assert studio.models == "toy"
    assert studio.open() is not None
    studio.stop()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.subprocess
def test_a_page_without_a_pack_gets_one(
    server: Server,  # noqa: F811
    published: Path,  # noqa: F811
    tmp_path: Path,
    kernels: Path,
) -> None:
    define(server, published, **RESTRICTED)
    (server.folder / "clip.pt").rename(server.folder / "away")  # type: ignore[attr-defined]
    home = str(store.home())
    with (
        launched() as browser,
        started(tmp_path, kernels, models="tiny", STYLECLIP_HOME=home) as studio,
        opened(browser, studio.url, 390, 844, has_touch=True) as page,
    ):
        page.get_by_text(in_bytes(Fetching("tiny", FAST).cost().size)).wait_for()
        page.get_by_text("Licence: research only").wait_for()
        page.get_by_text("127.0.0.1").wait_for()
        assert page.evaluate(CUT) == []
        get = page.get_by_role("button", name="Download tiny")
        assert get.is_disabled()
        page.get_by_text("I accept this licence").tap()
        get.tap()
        page.get_by_role("alert").get_by_text("404").wait_for()
        (server.folder / "away").rename(server.folder / "clip.pt")  # type: ignore[attr-defined]
        page.get_by_role("button", name="Try again").tap()
        page.get_by_text("Drop photos of faces here").wait_for()
        page.get_by_text("--models tiny").wait_for()
        hand = Hand(page)
        page.get_by_role("button", name="Try a generated face").tap()
        hand.until_painted(-1)
        hand.type("What should they become?", "smiling")
