# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Work that goes on when the connection, the controller or the terminal goes away.

sshd ends a session's pipes and terminal, and Ansible its module, when the controller is gone. Between the stop of a
service and its start that must not matter, so this work runs in a process of its own session; whoever asked waits for
it and passes its outcome on, if still there.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
import typing as t

_NOTHING_SENT = "the process that does the work ended without a word; was it killed? run again"


class DetachedError(Exception):
    """The work ended in an error that was not foreseen; the text is where, not its message, which may quote a value."""


def run_detached(
    work: t.Callable[[], dict[str, t.Any]],
    *,
    expected: type[Exception],
) -> dict[str, t.Any]:
    """Run C(work) in a process that ignores hang-ups and interrupts; return what it returns.

    Args:
        work: returns a JSON-able dictionary. All imports must be done: the module's archive may vanish underneath it.
        expected: the base of the exceptions to hand back as themselves (class and text).

    Effects: fork, setsid, standard streams to /dev/null. If this process dies, the other one finishes all the same.
    """
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            _be_detached()
            _send(write_end, _outcome_of(work, expected))
        finally:
            os._exit(0)  # never back into the caller's code
    os.close(write_end)
    try:
        sent = _read_all(read_end, child)
    finally:
        os.close(read_end)
    if not sent:
        raise DetachedError(_NOTHING_SENT)
    outcome = json.loads(sent.decode("utf-8"))
    if "returned" in outcome:
        return t.cast("dict[str, t.Any]", outcome["returned"])
    for kind in family(expected):
        if kind.__name__ == outcome["raised"]:
            raise kind(outcome["text"], **outcome["facts"])
    raise DetachedError(outcome["text"])


def without_message(raised: tuple[t.Any, t.Any, t.Any]) -> str:
    """Render C(sys.exc_info()) without the exception's own text, which may quote what it stumbled over."""
    kind, unused_error, trace = raised
    return "".join(traceback.format_tb(trace)) + getattr(kind, "__name__", "error")


def family(base: type[Exception]) -> t.Iterator[type[Exception]]:
    """Yield a class of exceptions and all that are made from it."""
    yield base
    for kind in base.__subclasses__():
        yield from family(kind)


def _be_detached() -> None:
    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _outcome_of(work: t.Callable[[], dict[str, t.Any]], expected: type[Exception]) -> dict[str, t.Any]:
    try:
        return {"returned": work()}
    except expected as error:
        return {"raised": type(error).__name__, "text": str(error), "facts": getattr(error, "facts", {})}
    except BaseException:  # whatever it was, the one who waits is told; nobody else can be
        return {"raised": "", "text": without_message(sys.exc_info())}


def _send(descriptor: int, outcome: dict[str, t.Any]) -> None:
    try:
        content = json.dumps(outcome).encode("utf-8")
    except (TypeError, ValueError):
        content = json.dumps({"raised": "", "text": "the result cannot be written as JSON"}).encode("utf-8")
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    except OSError:
        pass  # nobody is waiting any more; the work is done and can be observed


def _read_all(descriptor: int, child: int) -> bytes:
    """Read until the child is gone: a service that it started may have inherited the pipe and keep it open."""
    chunks, gone = [], False
    while True:
        if select.select([descriptor], [], [], 0.05)[0]:
            chunk = os.read(descriptor, 65536)
            if not chunk:
                break
            chunks.append(chunk)
        elif gone:
            break
        elif os.waitpid(child, os.WNOHANG)[0]:
            gone = True
    if not gone:
        deadline = time.monotonic() + 10
        while not os.waitpid(child, os.WNOHANG)[0] and time.monotonic() < deadline:
            time.sleep(0.005)
    return b"".join(chunks)


__all__ = ("DetachedError", "family", "run_detached", "without_message")
