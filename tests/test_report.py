"""The streams: a bar for people, lines for logs, nothing when asked."""

from __future__ import annotations

import io
import sys

import pytest

from styleclip_cli.cli import report
from styleclip_cli.cli.report import Reporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Reporter().progress("measuring") as advance:
        advance(1, 2)
    assert "measuring" in sys.stderr.getvalue()
    assert "\x1b" in sys.stderr.getvalue()


def test_a_step_inside_a_step_draws_no_second_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    reporter = Reporter()
    with reporter.progress("outer"), reporter.progress("inner") as advance:
        advance(1, 2)
    assert "inner" not in sys.stderr.getvalue()


def test_a_long_step_is_told_in_lines_off_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "_PLAIN_SECONDS", 0.0)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Reporter().progress("measuring") as advance:
        advance(1, 2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "measuring: 1 of 2"
    assert lines[1].startswith("measuring: done in ")


def test_a_short_step_is_not_told_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter().progress("measuring") as advance:
        advance(1, 1)
    assert capsys.readouterr().err == ""


def test_errors_are_one_line_whatever_they_hold(capsys: pytest.CaptureFixture[str]) -> None:
    report.error("two\nlines and an \x1b[31mescape", "a\nhint")
    err = capsys.readouterr().err
    assert err == "styleclip: error: two lines and an \\x1b[31mescape\n  try: a hint\n"
