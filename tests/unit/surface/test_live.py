"""Lines while a command works: in place on a terminal, plain ones in a pipe; and Ctrl-C."""

import io
import os
import pty
import re
import signal
import threading
import time

import pytest

from failback_master.surface import live


class Terminal(io.StringIO):
    def isatty(self):
        return True


def opened(stream, monkeypatch, **settings):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = live.Screen()
    screen.open(stream, **settings)
    return screen


def test_nothing_is_printed_before_somebody_looks(capsys):
    screen = live.Screen()
    screen.line("x"), screen.going("y"), screen.done(), screen.close()
    assert not screen.is_open and not screen.is_terminal
    assert capsys.readouterr() == ("", "")


def test_in_a_pipe_every_beginning_and_end_is_a_line(monkeypatch):
    stream = io.StringIO()
    screen = opened(stream, monkeypatch)
    screen.going("1/2 static  salt1 reboots"), screen.done(), screen.line("1/2 static  done\x1b[2J", True)
    lines = stream.getvalue().splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", one) for one in lines] == [
        "1/2 static  salt1 reboots",
        "1/2 static  done\\x1b[2J",
    ]


def test_on_a_terminal_one_line_is_redrawn_and_gone_at_the_end(monkeypatch):
    stream = Terminal()
    screen = opened(stream, monkeypatch)
    screen.going("salt1 reboots"), screen.done(), screen.line("done", True)
    text = stream.getvalue()
    assert "| salt1 reboots  0 s" in text
    shown = [one.split("\r\033[K")[-1] for one in text.split("\n")]
    assert len(shown) == 2 and shown[0].endswith(f"  done{live.PLAIN}") and live.GREEN in shown[0]


def test_how_far_a_step_is_keeps_its_seconds_on_a_terminal(monkeypatch):
    stream = Terminal()
    screen = opened(stream, monkeypatch)
    screen.going("pre-sync  what changed comes over")
    monkeypatch.setattr(screen, "_began", time.monotonic() - 75)
    screen.more("pre-sync  312 of 1,204 MB, 48.1 MB/s")
    deadline = time.monotonic() + 10
    while "48.1 MB/s  75 s" not in stream.getvalue():
        assert time.monotonic() < deadline, stream.getvalue()
        time.sleep(0.01)
    screen.done()
    screen.more("pre-sync  too late")
    time.sleep(2 * live.REDRAWN_EVERY)  # there is nothing to wait for: nothing may come
    assert "too late" not in stream.getvalue()


def test_a_line_is_redrawn_some_times_a_second_and_keeps_no_process_alive(monkeypatch):
    stream = Terminal()
    screen = opened(stream, monkeypatch)
    screen.going("salt1 reboots")
    (thread,) = (one for one in threading.enumerate() if one.name == "failback-screen")
    assert thread.daemon, "a command that breaks off would never end"
    time.sleep(2.5 * live.REDRAWN_EVERY)  # there is nothing to wait for: it must not come more often
    screen.done()
    assert 2 <= stream.getvalue().count("salt1 reboots") <= 5


def test_how_far_a_step_is_does_not_fill_a_pipe(monkeypatch):
    stream = io.StringIO()
    screen = opened(stream, monkeypatch)
    for megabytes in range(10):
        screen.more(f"{megabytes} of 10 MB")
    assert len(stream.getvalue().splitlines()) == 1
    # Every quarter of a minute.
    monkeypatch.setattr(screen, "_last_more", time.monotonic() - 15)
    screen.more("9 of 10 MB")
    assert [line.split("  ")[1] for line in stream.getvalue().splitlines()] == ["0 of 10 MB", "9 of 10 MB"]


@pytest.mark.parametrize("how", ["NO_COLOR", "--no-color", "a pipe"])
def test_there_are_no_colours_where_nobody_wants_them(monkeypatch, how):
    stream = io.StringIO() if how == "a pipe" else Terminal()
    screen = opened(stream, monkeypatch, color=how != "--no-color")
    if how == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
        screen.open(stream)
    screen.line("done", True), screen.line("failed", False)
    assert live.GREEN not in stream.getvalue() and live.RED not in stream.getvalue()


def test_a_line_that_is_redrawn_fits_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    opened(stream, monkeypatch).going("x" * 100)
    drawn = stream.getvalue().split("\r\033[K")[1]
    assert len(drawn) < 40 and drawn.endswith("…  0 s")


def test_a_reader_that_has_gone_ends_no_run(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", buffering=1) as stream:
        screen = opened(stream, monkeypatch)
        screen.line("x" * 100)
        with pytest.raises(OSError):
            stream.write("y"), stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)


@pytest.fixture
def interrupts(monkeypatch):
    """Ctrl-C is taken over, as in a command that a person has typed."""
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    live.SCREEN.open(io.StringIO())
    # Not what these tests were started with: a shell starts a program in the background without Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    found = live.Interrupts()
    found.watch()
    yield found
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_step_at_work(interrupts):
    with pytest.raises(live.Interrupted), interrupts.raised():
        signal.raise_signal(signal.SIGINT)
    assert interrupts.asked


def test_ctrl_c_after_a_step_is_raised_in_nothing_else(interrupts):
    """What gives the pair back must not be broken off in the middle."""
    with interrupts.raised():
        pass
    signal.raise_signal(signal.SIGINT)
    assert interrupts.asked


def test_ctrl_c_between_two_steps_ends_the_next_one(interrupts):
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(live.Interrupted), interrupts.raised():
        raise AssertionError("the step was begun")


def test_the_second_ctrl_c_is_salts_again(interrupts):
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_second_ctrl_c_of_a_command_in_the_background_is_ignored_again(monkeypatch):
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    live.SCREEN.open(io.StringIO())
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        found = live.Interrupts()
        found.watch()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert found.asked and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_where_nobody_looks_ctrl_c_is_left_alone(monkeypatch):
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    before = signal.getsignal(signal.SIGINT)
    live.Interrupts().watch()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_real_terminal_is_recognised(monkeypatch):
    main, other = pty.openpty()
    with open(other, "w") as stream:
        assert opened(stream, monkeypatch).is_terminal
        monkeypatch.setenv("TERM", "dumb")
        screen = live.Screen()
        screen.open(stream)
        assert not screen.is_terminal
    os.close(main)


@pytest.mark.parametrize("terminal", [True, False])
def test_only_a_terminal_has_a_width(monkeypatch, terminal):
    monkeypatch.setenv("COLUMNS", "123")
    monkeypatch.setattr("sys.stdout", Terminal() if terminal else io.StringIO())
    assert live.columns() == (123 if terminal else None)


class Ended(BaseException):
    """The process has ended with an exit status."""


def test_ctrl_c_ends_a_command_that_only_asks_with_a_sentence(monkeypatch, capsys):
    def ended(status):
        raise Ended(status)

    monkeypatch.setattr(os, "_exit", ended)
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    stream = Terminal()
    live.SCREEN.open(stream)
    live.SCREEN.going("1/2 static  salt1 reboots")
    before = signal.getsignal(signal.SIGINT)
    try:
        live.end_on_interrupt()
        with pytest.raises(Ended) as found:
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert found.value.args == (128 + signal.SIGINT,)
    assert "Interrupted. What was under way on the nodes goes on there" in capsys.readouterr().err
    # The line that was redrawn is gone.
    assert stream.getvalue().endswith("\r\033[K") and not live.SCREEN.is_open


@pytest.mark.parametrize("take", [live.end_on_interrupt, lambda: live.Interrupts().watch()])
def test_ctrl_c_is_taken_over_by_the_main_thread_alone(monkeypatch, take):
    """Python lets no other one; the answer is what counts there."""
    monkeypatch.setattr(live, "SCREEN", live.Screen())
    live.SCREEN.open(io.StringIO())
    before, errors = signal.getsignal(signal.SIGINT), []

    def elsewhere():
        try:
            take()
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert errors == [] and signal.getsignal(signal.SIGINT) is before
