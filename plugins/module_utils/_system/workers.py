# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Work that is done by several processes at the same time, and belongs to this one: none of them outlives it for long.

Threads would share one interpreter, and so one core.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import typing as t

from .detached import DetachedError, family, without_message

Report = t.Callable[[t.List[int]], None]
Work = t.Callable[[Report], t.Dict[str, t.Any]]


def run_side_by_side(
    works: t.Sequence[Work], *, expected: type[Exception], told: t.Callable[[t.List[int]], None]
) -> list[dict[str, t.Any]]:
    """Run each work in a fork of this process; return what each returns, in their order.

    Args:
        works: each takes a function that reports numbers to this process, and ends the fork if this process is gone; each returns a
            JSON-able dictionary.
        expected: the base of the exceptions to hand back as themselves (class and text).
        told: called with what is reported.

    Raises:
        Exception: of the first that failed; the others are killed then, and wherever this function is left.
    """
    here = os.getpid()
    pipes: dict[int, int] = {}
    children: list[int] = []
    returned: dict[int, dict[str, t.Any]] = {}
    try:
        for number, work in enumerate(works):
            read_end, write_end = os.pipe()
            child = os.fork()
            if child == 0:
                _work(work, write_end, here, expected)
            os.close(write_end)
            pipes[read_end] = number
            children.append(child)
        for number, line in _lines(pipes):
            if "told" in line:
                told(line["told"])
            elif "returned" in line:
                returned[number] = line["returned"]
            else:
                _raise(line, expected)
        if len(returned) < len(works):
            raise DetachedError("a process that does part of the work ended without a word; was it killed? run again")
        return [returned[number] for number in range(len(works))]
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)  # it is not reaped yet, so the number is its own
            os.waitpid(child, 0)
        for read_end in pipes:
            os.close(read_end)


def _work(work: Work, descriptor: int, parent: int, expected: type[Exception]) -> t.NoReturn:
    """Do the work of a fork, and leave without going back into the caller's code."""

    def send(line: dict[str, t.Any]) -> None:
        content = json.dumps(line).encode("ascii") + b"\n"
        while content:
            content = content[os.write(descriptor, content) :]

    def report(numbers: list[int]) -> None:
        if os.getppid() != parent:
            os._exit(1)
        send({"told": numbers})

    try:
        try:
            send({"returned": work(report)})
        except expected as error:
            send({"raised": type(error).__name__, "text": str(error), "facts": getattr(error, "facts", {})})
        except Exception:  # whatever it was, the one who waits is told
            send({"raised": "", "text": without_message(sys.exc_info())})
    finally:
        os._exit(0)


def _lines(pipes: t.Mapping[int, int]) -> t.Iterator[tuple[int, dict[str, t.Any]]]:
    """Yield what comes, until all have closed their end."""
    pending = dict.fromkeys(pipes, b"")
    while pending:
        for descriptor in select.select(list(pending), [], [])[0]:
            chunk = os.read(descriptor, 65536)
            if not chunk:
                del pending[descriptor]
                continue
            *lines, pending[descriptor] = (pending[descriptor] + chunk).split(b"\n")
            for line in lines:
                yield pipes[descriptor], json.loads(line.decode("ascii"))


def _raise(line: dict[str, t.Any], expected: type[Exception]) -> t.NoReturn:
    for kind in family(expected):
        if kind.__name__ == line["raised"]:
            raise kind(line["text"], **line["facts"])
    raise DetachedError(line["text"])


__all__ = ("Report", "Work", "run_side_by_side")
