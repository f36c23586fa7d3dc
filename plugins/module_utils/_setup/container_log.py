# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The log of a container: those of its lines that speak of something, however long the log is."""

from __future__ import annotations

import typing as t

from .._errors import EngineError

if t.TYPE_CHECKING:
    from .._injection.engine import Runner

# The whole log may be larger than the memory, so it goes through grep. A pipe keeps the exit code of its last command only.
_SCRIPT = (
    'pattern=$1; shift; { "$@" 2>&1; echo "servos-ops-exit $?"; } '
    '| grep -a -i -A 1 -E -e "$pattern" -e "^servos-ops-exit [0-9]+$" | tail -c 8388608'
)
_MOST_BYTES = 8388608
_END = "servos-ops-exit "
_TIMED_OUT = (124, 137)


def log_lines(run: Runner, command: str, container_id: str, *, name: str, driver: str, pattern: str, since: str, timeout_s: float) -> str:
    """Return the lines of a container's log that match, each with the one after it and its time.

    Args:
        pattern: an extended regular expression; case does not matter.
        driver: the container's log driver, for the message.
        since: a time or duration as the engine takes it; empty for all.

    Raises:
        EngineError: the engine cannot show the log. What it said is not passed on: it stands among the lines of the log.
    """
    words = [command, "logs", "--timestamps", *([f"--since={since}"] if since else []), container_id]
    try:
        code, output, unused_error = run(["timeout", "-k", "5", f"{timeout_s:g}", "sh", "-c", _SCRIPT, "sh", pattern, *words], {})
    except FileNotFoundError:
        raise EngineError("there is no command timeout on this host; install coreutils") from None
    if code in _TIMED_OUT:
        raise EngineError(f"{command} logs {name} did not end within {timeout_s:g} s; raise timeout, or shorten the log with log_since")
    lines = output.splitlines()
    if not lines or not lines[-1].startswith(_END):
        raise EngineError(f"the log of the container {name} cannot be searched; are sh, grep and tail on this host?")
    if lines[-1] != f"{_END}0":
        raise EngineError(
            f"{command} cannot show the log of the container {name} (log driver {driver or 'unknown'}; log_since is {since or 'not set'}); "
            "correct log_since, or search where that driver sends the log, and set container to an empty text"
        )
    if len(output.encode("utf-8", "surrogateescape")) >= _MOST_BYTES:
        raise EngineError(
            f"the log of the container {name} speaks of a setup token in more lines than are looked at ({_MOST_BYTES} bytes), and what "
            "stands before them was not; look there by hand, or shorten the log with log_since"
        )
    return "\n".join(lines[:-1])


__all__ = ("log_lines",)
