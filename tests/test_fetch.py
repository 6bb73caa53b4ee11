"""Downloads from real servers on this machine that cut, stall, lie and refuse."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import namedtuple
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from styleclip_cli import __version__
from styleclip_cli.errors import OutputError, UsageError, WeightsError
from styleclip_cli.weights import fetch as module
from styleclip_cli.weights.fetch import Network, Source, check, fetch
from styleclip_cli.weights.reach import NoNetwork, require_network

FILE = "weights.pt"
BODY = hashlib.shake_256(b"weights").digest(200_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
GIT_SHA1 = hashlib.sha1(b"blob %d\0" % len(BODY) + BODY).hexdigest()
QUICK = Network(connect_timeout=2, read_timeout=5, attempts=3, backoff=0.001)
STALE = Network(connect_timeout=2, read_timeout=0.15, attempts=2, backoff=0.001)
PAGE = b"\n <!DOCTYPE html><html>Quota exceeded</html>"


class Server(ThreadingHTTPServer):
    """Answers with the scripted faults, one a request, then properly; remembers what it was asked for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.script, self.default, self.released = [], [], publish(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/{FILE}"
        self.host = f"127.0.0.1:{self.server_port}"

    def ranges(self):
        return [headers.get("Range") for _, headers in self.seen]

    def handle_error(self, *args):
        pass  # the client went away


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        self.close_connection = True
        script = self.server.script
        (script.pop(0) if script else self.server.default)(self)

    def reply(self, status, headers=(), body=b""):
        self.send_response(status)
        headers = {"Content-Length": len(body), "Connection": "close", **dict(headers)}
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def publish(body=BODY, *, etag='"v1"', modified=None, ranges=True, cut=None, stall=False, pause=0.0, **more):
    """A proper answer, but for what is asked: cut after so many bytes, then stall or close; or slow."""

    def answer(handler):
        first, status = 0, 200
        headers = {"Content-Type": "application/octet-stream", "ETag": etag, "Last-Modified": modified}
        wanted, version = handler.headers.get("Range"), handler.headers.get("If-Range")
        if ranges and wanted and version in (None, etag, modified):
            first, status = int(wanted.removeprefix("bytes=").removesuffix("-")), 206
            if first >= len(body):
                return handler.reply(416, {"Content-Range": f"bytes */{len(body)}"})
            headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
        headers["Content-Length"] = len(body) - first
        handler.reply(status, headers | {k.replace("_", "-"): v for k, v in more.items()})
        rest = body[first:cut]
        step = 4000 if pause else len(rest) or 1
        for start in range(0, len(rest), step):
            handler.wfile.write(rest[start : start + step])
            if pause:
                time.sleep(pause)
        if stall:
            handler.server.released.wait(20)

    return answer


def status(code, headers=(), body=b""):
    return lambda handler: handler.reply(code, headers, body)


def hang_up(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)


def stall_at_once(handler):
    handler.server.released.wait(20)


def chunked(body, end=b"0\r\n\r\n"):
    def answer(handler):
        handler.reply(200, {"Content-Length": None, "Transfer-Encoding": "chunked"})
        for start in range(0, len(body), 30_000):
            block = body[start : start + 30_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
        handler.wfile.write(end)

    return answer


@pytest.fixture
def new_server():
    servers = []

    def start():
        servers.append(Server())
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.released.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(new_server):
    return new_server()


@pytest.fixture
def other(new_server):
    return new_server()


@pytest.fixture(autouse=True)
def _plain_network(monkeypatch):
    for name in [n for n in os.environ if n.lower().endswith("_proxy") or n == "HF_HUB_OFFLINE"]:
        monkeypatch.delenv(name)


@pytest.fixture
def no_network(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "create_connection", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)


@pytest.fixture
def waits(monkeypatch):
    seconds = []
    monkeypatch.setattr(module.time, "sleep", seconds.append)
    return seconds


def published(*servers, **known):
    return Source(FILE, tuple(server.url for server in servers), **({"sha256": SHA256} | known))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_whole(folder, body=BODY, file=FILE):
    assert (folder / file).read_bytes() == body
    assert names(folder) == [file]


def assert_started(folder, size):
    assert (folder / f"{FILE}.part").stat().st_size == size
    assert names(folder) == [f"{FILE}.part", f"{FILE}.part.json"]


def failure(source, folder, network=QUICK, kind=WeightsError):
    with pytest.raises(kind) as caught:
        fetch(source, folder, network)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


# -- The straight way


def test_a_file_is_loaded_with_one_request_and_the_second_time_with_none(server, tmp_path):
    folder = tmp_path / "deep" / "folder"
    found = fetch(published(server), folder, QUICK)
    assert (found.path, found.url, found.sha256, found.size) == (folder / FILE, server.url, SHA256, len(BODY))
    assert_whole(folder)
    path, headers = server.seen[0]
    assert path == f"/{FILE}"
    assert headers["User-Agent"] == f"styleclip-cli/{__version__}"
    assert headers["Accept-Encoding"] == "identity"
    assert "Range" not in headers
    again = fetch(published(server), folder, QUICK)
    assert (again.path, again.url, again.sha256, again.size) == (found.path, "", SHA256, len(BODY))
    assert len(server.seen) == 1


@pytest.mark.parametrize("known", [{"size": len(BODY)}, {}])
def test_progress_reaches_the_total(server, tmp_path, known):
    told = []
    fetch(published(server, **known), tmp_path, QUICK, lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[0][0] < len(BODY)
    assert told[-1] == (len(BODY), len(BODY))


def test_the_file_gets_its_name_in_one_step_when_it_is_on_disk(server, tmp_path, monkeypatch):
    steps, replace, fsync = [], Path.replace, os.fsync

    def replaced(path, target):
        steps.append((path.name, path.read_bytes() == BODY, target.exists()))
        return replace(path, target)

    def synced(descriptor):
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(os, "fsync", synced)
    fetch(published(server), tmp_path, QUICK)
    assert steps == ["file", (f"{FILE}.part", True, False), "folder"]
    assert_whole(tmp_path)


def test_a_file_without_any_published_facts_is_accepted(server, tmp_path):
    found = fetch(published(server, sha256=None), tmp_path, QUICK)
    assert found.sha256 == SHA256
    assert_whole(tmp_path)


def test_a_damaged_file_is_replaced_with_a_warning(server, tmp_path, caplog):
    (tmp_path / FILE).write_bytes(b"damaged")
    fetch(published(server), tmp_path, QUICK)
    assert_whole(tmp_path)
    assert len(caplog.records) == 1
    assert hashlib.sha256(b"damaged").hexdigest() in caplog.text


def test_a_body_in_chunks_without_a_length(server, tmp_path):
    server.script = [chunked(BODY)]
    told = []
    fetch(published(server), tmp_path, QUICK, lambda done, total: told.append((done, total)))
    assert_whole(tmp_path)
    assert told[-1] == (len(BODY), 0)


def test_a_redirect_is_followed(server, other, tmp_path):
    server.script = [status(302, {"Location": other.url})]
    found = fetch(published(server), tmp_path, QUICK)
    assert found.url == server.url
    assert (len(server.seen), len(other.seen)) == (1, 1)
    assert_whole(tmp_path)


def test_a_name_of_200_characters(server, tmp_path):
    file = "w" * 197 + ".pt"
    server.script = [publish(cut=90_000)]
    fetch(Source(file, (server.url,), sha256=SHA256), tmp_path, QUICK)
    assert server.ranges() == [None, "bytes=90000-"]
    assert_whole(tmp_path, file=file)


@pytest.mark.subprocess
def test_nothing_heavy_is_imported():
    script = (
        "import sys, styleclip_cli.weights.fetch\n"
        "print([name for name in ('requests', 'urllib3', 'torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- Going on where it stopped


@pytest.mark.parametrize("percent", [0, 1, 25, 50, 99])
@pytest.mark.parametrize("known", [{}, {"sha256": None}, {"size": len(BODY)}])
def test_a_cut_download_is_continued(server, tmp_path, percent, known):
    cut = len(BODY) * percent // 100
    server.script = [publish(cut=cut)]
    fetch(published(server, **known), tmp_path, QUICK)
    assert server.ranges() == [None, f"bytes={cut}-" if cut else None]
    if cut:
        assert server.seen[1][1]["If-Range"] == '"v1"'
    assert_whole(tmp_path)


def test_tries_are_counted_anew_after_progress(server, tmp_path):
    cuts = list(range(20_000, len(BODY), 20_000))
    server.script = [publish(cut=cut) for cut in cuts]
    fetch(published(server), tmp_path, Network(attempts=1, backoff=0.001))
    assert server.ranges() == [None, *(f"bytes={cut}-" for cut in cuts)]
    assert_whole(tmp_path)


def test_tries_are_not_counted_anew_when_the_same_bytes_come_again(server, tmp_path):
    server.default = publish(cut=50_000, ranges=False)
    error = failure(published(server), tmp_path)
    assert len(server.seen) == 1 + QUICK.attempts
    assert server.host in error.message


def test_a_later_call_continues(server, tmp_path):
    server.default = publish(cut=120_000)
    failure(published(server), tmp_path)
    assert_started(tmp_path, 120_000)
    server.seen.clear()
    server.default = publish()
    told = []
    fetch(published(server), tmp_path, QUICK, lambda done, total: told.append(done))
    assert server.ranges() == ["bytes=120000-"]
    assert told[0] > 120_000
    assert_whole(tmp_path)


def test_a_whole_part_needs_no_request(tmp_path, no_network):
    (tmp_path / f"{FILE}.part").write_bytes(BODY)
    url = "https://files.example/weights.pt"
    assert fetch(Source(FILE, (url,), SHA256, size=len(BODY)), tmp_path, QUICK).url == url
    assert_whole(tmp_path)


@pytest.mark.parametrize("part", [BODY[::-1], BODY + b"?"])
def test_a_whole_part_that_is_wrong_is_loaded_anew(server, tmp_path, part):
    (tmp_path / f"{FILE}.part").write_bytes(part)
    fetch(published(server, size=len(BODY)), tmp_path, QUICK)
    assert server.ranges() == [None]
    assert_whole(tmp_path)


def start_process(source, folder, limit=0):
    script = (
        "import json, resource, signal, sys\n"
        "from pathlib import Path\n"
        "from styleclip_cli.errors import StyleClipError\n"
        "from styleclip_cli.weights.fetch import Network, Source, fetch\n"
        "folder, urls, sha256, limit = json.loads(sys.argv[1])\n"
        "if limit:\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "try:\n"
        f"    fetch(Source({FILE!r}, tuple(urls), sha256), Path(folder), Network(backoff=0.01))\n"
        "except StyleClipError as error:\n"
        "    print(type(error).__name__, error.message, '|', error.hint)\n"
    )
    arguments = json.dumps([str(folder), source.urls, source.sha256, limit])
    return subprocess.Popen([sys.executable, "-c", script, arguments], stdout=subprocess.PIPE, text=True)


@pytest.mark.subprocess
@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_killed_process_is_continued_by_another(server, tmp_path, sha256):
    server.script = [publish(pause=0.02)]
    process = start_process(published(server, sha256=sha256), tmp_path)
    part = tmp_path / f"{FILE}.part"
    limit = time.monotonic() + 20
    while not part.exists() or part.stat().st_size < len(BODY) // 2:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.005)
    process.kill()
    assert process.wait(10) == -signal.SIGKILL
    process.stdout.close()
    size = part.stat().st_size
    assert len(BODY) // 2 <= size < len(BODY)
    assert_started(tmp_path, size)
    fetch(published(server, sha256=sha256), tmp_path, QUICK)
    assert server.ranges() == [None, f"bytes={size}-"]
    assert_whole(tmp_path)


@pytest.mark.parametrize("known", [{}, {"sha256": None}])
def test_the_part_of_another_version_is_thrown_away(server, tmp_path, known):
    server.default = publish(b"old" * 50_000, etag='"v0"', cut=100_000)
    failure(published(server, **known), tmp_path)
    server.seen.clear()
    server.default = publish()
    fetch(published(server, **known), tmp_path, QUICK)
    assert server.ranges() == ["bytes=100000-"]
    assert server.seen[0][1]["If-Range"] == '"v0"'
    assert_whole(tmp_path)


def test_the_rest_of_another_version_is_not_taken(server, tmp_path):
    """Sent by a server that ignores If-Range."""
    rest = {"ETag": '"v1"', "Content-Range": f"bytes 100000-{len(BODY) - 1}/{len(BODY)}"}
    server.script = [publish(b"old" * 100_000, etag='"v0"', cut=100_000), status(206, rest, BODY[100_000:])]
    fetch(published(server, sha256=None), tmp_path, QUICK)
    assert server.ranges() == [None, "bytes=100000-", None]
    assert_whole(tmp_path)


def test_without_a_strong_etag_the_date_tells_versions_apart(server, tmp_path):
    date = "Mon, 01 Jan 2024 00:00:00 GMT"
    server.default = publish(etag='W/"v1"', modified=date)
    server.script = [publish(etag='W/"v1"', modified=date, cut=100_000)]
    fetch(published(server, sha256=None), tmp_path, QUICK)
    assert server.seen[1][1]["If-Range"] == date
    assert_whole(tmp_path)


@pytest.mark.parametrize("etag", [None, 'W/"v1"', '"é"'])
def test_without_version_and_hash_nothing_is_continued(server, tmp_path, etag):
    server.default = publish(etag=etag)
    server.script = [publish(etag=etag, cut=100_000)]
    fetch(published(server, sha256=None), tmp_path, QUICK)
    assert server.ranges() == [None, None]
    assert_whole(tmp_path)


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url": 1, "version": 2}', "[" * 100_000, "\xff"])
def test_a_damaged_note_is_no_note(server, tmp_path, note):
    (tmp_path / f"{FILE}.part").write_bytes(b"?" * 1000)
    (tmp_path / f"{FILE}.part.json").write_text(note, encoding="latin-1")
    fetch(published(server, sha256=None), tmp_path, QUICK)
    assert server.ranges() == [None]
    assert_whole(tmp_path)


def test_another_address_continues_only_with_a_hash(server, other, tmp_path):
    server.default = publish(cut=100_000)
    fetch(published(server, other), tmp_path / "with", QUICK)
    assert other.ranges() == ["bytes=100000-"]
    assert "If-Range" not in other.seen[0][1]
    fetch(published(server, other, sha256=None), tmp_path / "without", QUICK)
    assert other.ranges() == ["bytes=100000-", None]
    assert_whole(tmp_path / "with")
    assert_whole(tmp_path / "without")


def test_a_bad_beginning_from_elsewhere_is_not_held_against_an_address(server, other, tmp_path):
    server.default = publish(b"junk" * 50_000, cut=100_000)
    fetch(published(server, other), tmp_path, QUICK)
    assert other.ranges() == ["bytes=100000-", None]
    assert_whole(tmp_path)


def test_a_refusal_keeps_what_another_address_sent(server, other, tmp_path):
    server.default = publish(cut=100_000)
    other.default = publish(PAGE, ranges=False)
    failure(published(server, other), tmp_path)
    assert_started(tmp_path, 100_000)


def test_a_server_that_ignores_ranges_sends_all_again(server, tmp_path):
    server.script = [publish(cut=100_000), publish(ranges=False)]
    fetch(published(server), tmp_path, QUICK)
    assert server.ranges() == [None, "bytes=100000-"]
    assert_whole(tmp_path)


@pytest.mark.parametrize("span", ["bytes 0-199999/200000", "bytes 5-9/10", "nonsense", None])
def test_another_range_than_asked_for_is_not_taken(server, tmp_path, span):
    server.script = [publish(cut=100_000), status(206, {"Content-Range": span}, BODY[100_000:])]
    fetch(published(server), tmp_path, QUICK)
    assert server.ranges() == [None, "bytes=100000-", None]
    assert_whole(tmp_path)


def test_a_part_of_a_file_of_another_size_is_refused(server, other, tmp_path):
    span = {"Content-Range": "bytes 100000-299999/300000"}
    server.script = [publish(cut=100_000), status(206, span, b"?" * 200_000)]
    fetch(published(server, other, size=len(BODY)), tmp_path, QUICK)
    assert (len(server.seen), len(other.seen)) == (2, 1)
    assert_whole(tmp_path)


def test_an_answer_with_less_than_the_rest_is_continued(server, tmp_path):
    span = {"Content-Range": f"bytes 100000-149999/{len(BODY)}"}
    server.script = [publish(cut=100_000), status(206, span, BODY[100_000:150_000])]
    fetch(published(server), tmp_path, QUICK)
    assert server.ranges() == [None, "bytes=100000-", "bytes=150000-"]
    assert_whole(tmp_path)


def test_no_such_range_starts_over_once(server, tmp_path):
    server.script = [publish(cut=100_000), status(416)]
    fetch(published(server), tmp_path, QUICK)
    assert server.ranges() == [None, "bytes=100000-", None]
    assert_whole(tmp_path)
    (tmp_path / FILE).unlink()
    server.default = status(416)
    assert "416" in failure(published(server), tmp_path).message
    assert len(server.seen) == 4
    assert names(tmp_path) == []


# -- Servers that fail for a while


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_passing_troubles_are_waited_out(server, waits, tmp_path, code):
    server.script = [status(code), status(code)]
    fetch(published(server), tmp_path, Network())
    assert len(server.seen) == 3
    assert waits == [1, 2]
    assert_whole(tmp_path)


def test_waiting_has_limits(server, waits, tmp_path):
    server.default = status(500)
    assert "HTTP 500" in failure(published(server), tmp_path, Network(attempts=8)).message
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert len(server.seen) == 8


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("7", 7), ("3600", 60), ("Mon, 01 Jan 2024 00:00:00 GMT", 0), ("soon", 1), ("-5", 1)],
)
def test_the_wait_that_a_server_asks_for(server, waits, tmp_path, value, seconds):
    server.script = [status(429, {"Retry-After": value})]
    fetch(published(server), tmp_path, Network())
    assert waits == [seconds]
    assert len(server.seen) == 2
    assert_whole(tmp_path)


def test_a_refused_or_dropped_connection_is_tried_again(server, tmp_path):
    server.script = [hang_up, hang_up]
    fetch(published(server), tmp_path, QUICK)
    assert len(server.seen) == 3
    assert_whole(tmp_path)


def test_nobody_there(new_server, waits, tmp_path):
    gone = new_server()
    gone.socket.close()
    error = failure(published(gone), tmp_path, Network())
    assert f"{gone.host}: Connection refused" in error.message
    assert waits == [1, 2, 4]


@pytest.mark.parametrize("stalled", [stall_at_once, publish(cut=100_000, stall=True)])
def test_a_stalled_connection_is_given_up_and_tried_again(server, tmp_path, stalled):
    server.script = [stalled]
    fetch(published(server), tmp_path, STALE)
    assert server.ranges() == [None, None if stalled is stall_at_once else "bytes=100000-"]
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    "stalled", [stall_at_once, publish(cut=0, stall=True), publish(cut=9000, stall=True)]
)
def test_a_server_stalled_for_ever_ends_in_an_error(server, tmp_path, stalled):
    server.default = stalled
    begun = time.monotonic()
    assert "timed out" in failure(published(server), tmp_path, STALE).message
    assert time.monotonic() - begun < 3
    assert len(server.seen) in (2, 3)


def trickle(pause, step=1):
    """A little at a time, for ever."""

    def answer(handler):
        handler.reply(200, {"Content-Length": len(BODY), "ETag": None})
        for start in range(0, len(BODY), step):
            handler.wfile.write(BODY[start : start + step])
            if handler.server.released.wait(pause):
                return

    return answer


@pytest.mark.parametrize("step", [1, 600])
def test_a_server_slower_than_any_line_is_given_up(server, other, tmp_path, step):
    """A byte now and then is no progress; the beginning, which is looked at first, is no exception."""
    server.default = trickle(0.02, step)
    network = Network(read_timeout=0.2, attempts=2, backoff=0.001, least_speed=1e6)
    begun = time.monotonic()
    assert fetch(published(server, other), tmp_path / "a", network).url == other.url
    assert "too slow" in failure(published(server), tmp_path / "b", network).message
    assert time.monotonic() - begun < 5
    assert len(server.seen) == 4
    assert_whole(tmp_path / "a")


def test_a_slow_server_that_is_fast_enough_is_waited_for(server, tmp_path):
    server.default = trickle(0.02, 10_000)
    fetch(published(server), tmp_path, Network(read_timeout=0.1, attempts=1, least_speed=10_000))
    assert len(server.seen) == 1
    assert_whole(tmp_path)


def test_a_few_bytes_at_a_time_do_not_earn_new_tries(server, tmp_path):
    server.script = [publish(cut=cut) for cut in range(1000, 10_000, 1000)]
    failure(published(server), tmp_path, Network(attempts=3, backoff=0.001, least_speed=1e9))
    assert len(server.seen) == 3
    assert_started(tmp_path, 3000)


# -- Addresses that will not do


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 501, 204, 304])
def test_a_refusal_sends_to_the_next_address_at_once(server, other, tmp_path, code):
    server.default = status(code)
    assert fetch(published(server, other), tmp_path, QUICK).url == other.url
    assert (len(server.seen), len(other.seen)) == (1, 1)
    assert_whole(tmp_path)


def test_when_all_fail_each_reason_is_told(server, other, tmp_path):
    server.default, other.default = status(403), status(404)
    error = failure(published(server, other), tmp_path)
    assert FILE in error.message
    assert f"{server.host}: HTTP 403 Forbidden" in error.message
    assert f"{other.host}: HTTP 404 Not Found" in error.message
    assert server.url in error.hint
    assert f"styleclip models import {FILE}" in error.hint
    assert names(tmp_path) == []


def test_no_address_at_all(tmp_path):
    error = failure(Source(FILE), tmp_path)
    assert "no address is known" in error.message
    assert f"styleclip models import {FILE}" in error.hint


def test_a_redirect_loop_ends(server, other, tmp_path):
    server.default = status(302, {"Location": server.url})
    fetch(published(server, other), tmp_path, QUICK)
    assert len(server.seen) == 31
    assert_whole(tmp_path)
    (tmp_path / FILE).unlink()
    assert "redirects" in failure(published(server), tmp_path).message


@pytest.mark.parametrize(
    "page",
    [
        publish(b"Please sign in", Content_Type="text/html; charset=utf-8"),
        publish(PAGE),
        publish(b"\xef\xbb\xbf\r\n<HTML lang=de>" + b" " * 2000),
        chunked(PAGE),
    ],
)
@pytest.mark.parametrize("known", [{"sha256": None}, {"size": len(BODY)}])
def test_a_page_is_not_taken_for_the_file(server, other, tmp_path, page, known):
    server.default = page
    error = failure(published(server, **known), tmp_path)
    assert f"{server.host}: an HTML page instead of the file" in error.message
    assert (len(server.seen), names(tmp_path)) == (1, [])
    fetch(published(server, other, **known), tmp_path, QUICK)
    assert_whole(tmp_path)


def test_nothing_is_no_file(server, tmp_path):
    server.default = publish(b"")
    assert "nothing was sent" in failure(published(server, sha256=None), tmp_path).message
    assert names(tmp_path) == []


def test_a_compressed_body_is_refused(server, tmp_path):
    server.default = publish(Content_Encoding="gzip")
    assert "compressed" in failure(published(server, sha256=None), tmp_path).message
    assert (len(server.seen), names(tmp_path)) == (1, [])


def test_wrong_content_is_deleted_and_the_next_address_tried(server, other, tmp_path):
    server.default = publish(BODY[::-1])
    error = failure(published(server), tmp_path)
    assert SHA256 in error.message
    assert hashlib.sha256(BODY[::-1]).hexdigest() in error.message
    assert (len(server.seen), names(tmp_path)) == (1, [])
    fetch(published(server, other), tmp_path, QUICK)
    assert len(other.seen) == 1
    assert_whole(tmp_path)


def test_addresses_are_tried_in_order_until_one_sends_the_right_file(new_server, tmp_path):
    """The first has it no more, the second sends something else, the third is right."""
    first, second, third = servers = [new_server() for _ in range(3)]
    first.default, second.default = status(404), publish(BODY[::-1])
    assert fetch(published(*servers), tmp_path, QUICK).url == third.url
    assert [len(server.seen) for server in servers] == [1, 1, 1]
    assert_whole(tmp_path)


def test_another_file_of_the_same_weights_has_a_hash_of_its_own(server, other, tmp_path):
    small = BODY[:5000][::-1]
    alone = Source(FILE, (other.url,), hashlib.sha256(small).hexdigest(), size=len(small))
    source = replace(published(server, sha256=None), others=(alone,))
    server.script = [publish(cut=100_000), status(403)]  # what it sent is no beginning of the other one
    other.default = publish(small)
    assert fetch(source, tmp_path, QUICK).url == other.url
    assert_whole(tmp_path, small)
    assert check(replace(source, sha256=SHA256), tmp_path / FILE) == alone.sha256
    with pytest.raises(WeightsError, match="not the published file"):
        check(replace(source, sha256=SHA256), Path(__file__))
    (tmp_path / FILE).unlink()
    server.default, other.default = status(403), publish(BODY[::-1])
    message = failure(source, tmp_path).message
    assert "403" in message
    assert "expected 5000" in message


@pytest.mark.parametrize("git_sha1", [GIT_SHA1, GIT_SHA1.upper()])
def test_a_git_blob_id_is_checked(server, other, tmp_path, git_sha1):
    server.default = publish(BODY[::-1])
    source = published(server, other, sha256=None, git_sha1=git_sha1)
    fetch(source, tmp_path, QUICK)
    assert (len(server.seen), len(other.seen)) == (1, 1)
    assert_whole(tmp_path)
    (tmp_path / FILE).unlink()
    error = failure(published(server, sha256=None, git_sha1=git_sha1), tmp_path)
    assert git_sha1 in error.message
    assert hashlib.sha1(b"blob %d\0" % len(BODY) + BODY[::-1]).hexdigest() in error.message


def test_check_tells_the_hash_or_what_differs(tmp_path):
    path = tmp_path / FILE
    path.write_bytes(BODY)
    assert check(Source(FILE), path) == SHA256
    assert check(Source(FILE, (), SHA256.upper(), GIT_SHA1, len(BODY)), path) == SHA256
    with pytest.raises(WeightsError, match=f"{FILE}.*size 200000, expected 7") as caught:
        check(Source(FILE, size=7, sha256="0" * 64), path)
    assert f"SHA-256 {SHA256}, expected {'0' * 64}" in caught.value.message
    with pytest.raises(WeightsError, match=f"git SHA-1 {GIT_SHA1}, expected 00"):
        check(Source(FILE, git_sha1="0" * 40), path)
    with pytest.raises(WeightsError, match=r"missing.*cannot be read"):
        check(Source(FILE), tmp_path / "missing")


@pytest.mark.parametrize("known", [{"size": len(BODY)}, {}])
def test_a_length_that_is_too_short(server, other, tmp_path, known):
    server.default = publish(Content_Length=1000)
    fetch(published(server, other, **known), tmp_path, QUICK)
    assert (len(server.seen), len(other.seen)) == (1, 1)
    assert_whole(tmp_path)


@pytest.mark.parametrize(("known", "requests"), [({"size": len(BODY)}, 1), ({}, 4)])
def test_a_length_that_is_too_long(server, other, tmp_path, known, requests):
    server.default = publish(Content_Length=len(BODY) + 10)
    fetch(published(server, other, **known), tmp_path, QUICK)
    assert len(server.seen) == requests
    assert other.ranges() == [None]
    assert_whole(tmp_path)


def test_more_bytes_than_published_are_not_loaded(server, other, tmp_path):
    server.default = chunked(b"?" * 300_000)
    told = []
    source = published(server, other, size=len(BODY))
    fetch(source, tmp_path, QUICK, lambda done, total: told.append(done))
    assert len(server.seen) == 1
    assert max(told) == len(BODY)
    assert_whole(tmp_path)


def test_a_length_beyond_all_measure(server, tmp_path):
    server.default = publish(Content_Length="9" * 5000)
    fetch(published(server), tmp_path, QUICK)
    assert_whole(tmp_path)


def test_chunks_that_end_early_are_continued(server, tmp_path):
    server.script = [chunked(BODY[:90_000], end=b"")]
    fetch(published(server), tmp_path, QUICK)
    assert server.ranges() == [None, "bytes=90000-"]
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    "noise", [b"", b"\0" * 99, b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
def test_what_is_no_answer_at_all_is_an_error(server, tmp_path, noise):
    server.default = lambda handler: handler.wfile.write(noise)
    assert server.host in failure(published(server, sha256=None), tmp_path, STALE).message
    assert names(tmp_path) == []


@pytest.mark.parametrize("end", [b"-5\r\n?", b"zz\r\n", b"f" * 99 + b"\r\n", b"a" * 70_000])
def test_malformed_chunks_are_an_error(server, tmp_path, end):
    server.default = chunked(b"", end)
    assert server.host in failure(published(server, sha256=None), tmp_path, STALE).message


# -- What is allowed


def test_a_mirror_is_asked_first(server, other, tmp_path, monkeypatch):
    monkeypatch.setenv("STYLECLIP_MIRROR", f"http://{other.host}/some/folder/")
    source = Source("a b.pt", (server.url,), SHA256)
    assert (
        fetch(source, tmp_path, Network.from_environment()).url == f"http://{other.host}/some/folder/a%20b.pt"
    )
    assert [path for path, _ in other.seen] == ["/some/folder/a%20b.pt"]
    assert not server.seen
    assert_whole(tmp_path, file="a b.pt")


def test_behind_a_mirror_without_the_file_come_the_addresses(server, other, tmp_path, monkeypatch):
    other.default = status(404)
    monkeypatch.setenv("STYLECLIP_MIRROR", f"http://{other.host}/some")
    fetch(published(server), tmp_path, Network.from_environment())
    assert (len(other.seen), len(server.seen)) == (1, 1)
    assert_whole(tmp_path)


@pytest.mark.parametrize("name", ["STYLECLIP_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_opens_no_connection(tmp_path, monkeypatch, no_network, name):
    monkeypatch.setenv(name, "1")
    network = Network.from_environment()
    source = Source(FILE, ("https://one.example/x", "https://two.example/x"), SHA256, size=len(BODY))
    error = failure(source, tmp_path / "new", network)
    for fact in (FILE, SHA256, "0.2 MB", "https://one.example/x"):
        assert fact in error.message
    assert f"styleclip models import {FILE}" in error.hint
    assert not (tmp_path / "new").exists()
    (tmp_path / FILE).write_bytes(BODY)
    assert fetch(source, tmp_path, network).sha256 == SHA256


def test_settings_from_the_environment(monkeypatch):
    assert Network.from_environment() == Network()
    for name in ("STYLECLIP_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("STYLECLIP_TIMEOUT", "2.5")
    monkeypatch.setenv("STYLECLIP_MIRROR", "")
    assert Network.from_environment() == Network(read_timeout=2.5)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e300", "soon"])
def test_a_timeout_that_is_none(monkeypatch, value):
    monkeypatch.setenv("STYLECLIP_TIMEOUT", value)
    with pytest.raises(UsageError, match=f"STYLECLIP_TIMEOUT={value}"):
        Network.from_environment()


def test_a_mirror_that_is_no_address(monkeypatch):
    monkeypatch.setenv("STYLECLIP_MIRROR", "host/folder")
    with pytest.raises(UsageError, match="STYLECLIP_MIRROR=host/folder"):
        Network.from_environment()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://files.example/weights.pt", "files.example: plain http"),
        ("http://127.0.0.1.files.example/weights.pt", "files.example: plain http"),
        ("ftp://files.example/weights.pt", "not an http or https address"),
        ("file:///etc/passwd", "not an http or https address"),
        ("http://[::1/weights.pt", "not an http or https address"),
        ("weights.pt", "weights.pt: not an http or https address"),
    ],
)
def test_addresses_that_are_not_even_tried(tmp_path, no_network, url, reason):
    assert reason in failure(Source(FILE, (url,)), tmp_path).message


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:99999/x", "https://" + "a" * 70 + ".example/x", "https://*/x"]
)
def test_addresses_that_cannot_be_asked(tmp_path, no_network, waits, url):
    assert "could not be downloaded" in failure(Source(FILE, (url,), SHA256), tmp_path).message
    assert waits == []


def test_a_redirect_to_an_open_address_is_refused_without_a_hash(server, other, tmp_path, monkeypatch):
    server.default = status(302, {"Location": other.url})
    real = requests.get

    def get(*args, **kwargs):
        response = real(*args, **kwargs)
        response.history[0].url = "https://files.example/weights.pt"  # as if the first one were encrypted
        return response

    monkeypatch.setattr(requests, "get", get)
    assert "plain http" in failure(published(server, sha256=None), tmp_path).message
    assert names(tmp_path) == []
    fetch(published(server), tmp_path, QUICK)
    assert_whole(tmp_path)


def test_a_proxy_is_used(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://{server.host}")
    monkeypatch.setenv("http_proxy", f"http://{server.host}")
    fetch(Source(FILE, ("http://files.example/weights.pt",), SHA256), tmp_path, QUICK)
    assert [path for path, _ in server.seen] == ["http://files.example/weights.pt"]
    assert_whole(tmp_path)


def test_passwords_are_not_told_or_kept(server, tmp_path):
    server.default = publish(cut=100_000)
    url = server.url.replace("//", "//user:secret@")
    error = failure(Source(FILE, (url,), SHA256), tmp_path)
    assert server.host in error.message
    assert "secret" not in error.message + error.hint
    assert "secret" not in (tmp_path / f"{FILE}.part.json").read_text()
    server.default = publish()
    assert fetch(Source(FILE, (url,), SHA256), tmp_path, QUICK).url == server.url
    assert server.seen[-1][1]["If-Range"] == '"v1"'


@pytest.mark.parametrize("file", ["", ".", "..", "../x.pt", "a/x.pt", "/x.pt", "a\\x.pt", "x\n.pt", "x\0.pt"])
def test_names_that_lead_elsewhere_are_refused(server, tmp_path, file):
    error = failure(Source(file, (server.url,), SHA256), tmp_path / "in")
    assert "not a plain file name" in error.message
    assert not server.seen
    assert names(tmp_path) == []


# -- The disk


def test_too_little_space_is_told_before_loading(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    free = module.KEPT_FREE + 90_000
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9, free))
    error = failure(published(server), tmp_path, kind=OutputError)
    assert "0.2 MB" in error.message
    assert "0.1 MB" in error.message
    assert names(tmp_path) == []
    (tmp_path / f"{FILE}.part").write_bytes(BODY[:150_000])  # then 50 kB are enough
    fetch(published(server), tmp_path, QUICK)
    assert_whole(tmp_path)


@pytest.mark.subprocess
def test_a_full_disk_keeps_what_was_loaded(server, tmp_path):
    process = start_process(published(server), tmp_path, limit=100_000)
    output, _ = process.communicate(timeout=20)
    assert output.startswith(f"OutputError {tmp_path / FILE}: cannot be written (File too large)")
    assert "make room" in output
    assert_started(tmp_path, 100_000)
    fetch(published(server), tmp_path, QUICK)
    assert server.ranges() == [None, "bytes=100000-"]
    assert_whole(tmp_path)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


def test_a_folder_that_may_not_be_written(server, tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir(mode=0o555)
    if os.access(folder, os.W_OK):  # the administrator may write there, but not into this one
        folder = Path("/sys")
        if not folder.is_dir():
            pytest.skip("needs a folder that cannot be written")
    monkeypatch.setattr(module, "_require_space", lambda *args: None)
    error = failure(published(server), folder, kind=OutputError)
    assert f"{folder}/{FILE}" in error.message
    assert "cannot be written" in error.message


def test_a_file_in_place_of_the_folder(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "in"):
        assert str(tmp_path / "file") in failure(published(server), folder, kind=OutputError).message
    assert not server.seen


def test_a_folder_in_place_of_the_file(server, tmp_path):
    (tmp_path / FILE).mkdir()
    assert str(tmp_path / FILE) in failure(published(server), tmp_path, kind=OutputError).message
    assert not server.seen


def test_a_name_too_long_for_the_disk(server, tmp_path):
    error = failure(Source("w" * 300, (server.url,), SHA256), tmp_path, kind=OutputError)
    assert "cannot be written" in error.message


def test_a_file_of_unpublished_size_has_an_end(server, tmp_path):
    network = Network(attempts=1, backoff=0.001, largest=100_000)
    assert "more than is taken" in failure(published(server), tmp_path, network).message
    server.script = [chunked(BODY)]  # says no length
    assert "more than 100000 bytes" in failure(published(server), tmp_path, network).message
    assert names(tmp_path) == []
    fetch(published(server, size=len(BODY)), tmp_path, network)  # published: nothing is amiss
    assert_whole(tmp_path)


def test_a_disk_is_not_filled_by_what_says_no_length(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")

    def measured(folder):
        return usage(0, 0, module.KEPT_FREE + 150_000 - sum(f.stat().st_size for f in folder.iterdir()))

    monkeypatch.setattr(shutil, "disk_usage", measured)
    server.default = chunked(BODY)
    error = failure(published(server), tmp_path, kind=OutputError)
    assert "200 MB stay free" in error.message
    assert "make room" in error.hint
    assert 0 < (tmp_path / f"{FILE}.part").stat().st_size <= 150_000


def test_what_is_kept_of_a_failed_download_is_told(server, tmp_path):
    server.default = publish(cut=100_000)
    assert failure(published(server), tmp_path).message.endswith("0.1 MB of it are kept for the next try")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://files.example/recognition%20arc.pth?download=1", "'recognition arc.pth'"),
        ("https://files.example/download?id=17&export=download", FILE),
    ],
)
def test_what_to_fetch_by_hand_is_named_as_a_browser_saves_it(tmp_path, url, name):
    error = failure(Source(FILE, (url,), SHA256), tmp_path, Network(offline=True))
    assert error.hint.endswith(f"styleclip models import {name}")


def test_an_interrupt_keeps_what_was_loaded(server, tmp_path):
    def stop(done, total):
        if done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(published(server), tmp_path, QUICK, stop)
    size = (tmp_path / f"{FILE}.part").stat().st_size
    assert size > 100
    fetch(published(server), tmp_path, QUICK)
    assert server.ranges() == [None, f"bytes={size}-"]
    assert_whole(tmp_path)


# -- Whether there is a network


def test_one_host_that_answers_is_a_network(server, new_server):
    gone = new_server()
    gone.socket.close()
    require_network([gone.url, server.url], 5)


def test_no_host_that_answers_is_no_network(monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    urls = ["https://one.example/x", "https://two.example/x", "https://one.example/y", "none", "http://[x"]
    with pytest.raises(NoNetwork) as caught:
        require_network(urls, 5)
    message = "no network: one.example, two.example cannot be reached (Temporary failure in name resolution)"
    assert caught.value.message == message
    require_network(["none"], 5)  # what is wrong with it is for the download to say


def test_a_name_server_that_says_nothing_is_not_waited_for(monkeypatch):
    over = threading.Event()

    def silent(*args, **kwargs):
        over.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    begun = time.monotonic()
    with pytest.raises(NoNetwork, match="timed out"):
        require_network(["https://one.example/x"], 0.1)
    assert time.monotonic() - begun < 2
    over.set()


def test_the_network_behind_a_proxy_is_the_proxy(server, monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://{server.host}")
    require_network(["https://files.example/x"], 5)
