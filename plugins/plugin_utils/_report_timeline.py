# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The steps of one host on a line of time, as SVG without script and without style of its own. Pure."""

from __future__ import annotations

import typing as t
from html import escape

_WIDTH, _ROW, _LEFT, _RIGHT, _FOOT = 720, 22, 6, 6, 24
_LEAST = 3.0  # what is over at once is still seen
_LONGEST_LABEL = 70
_TICKS = 5


def timeline_of(steps: t.Sequence[t.Mapping[str, t.Any]], *, label: str) -> str:
    """Return a picture of when each step was and how long it took; the table beside it says the same to who cannot see it."""
    if not steps:
        return ""
    first = min(step["offset_s"] for step in steps)
    last = max(step["offset_s"] + step["seconds"] for step in steps)
    span = max(last - first, 0.001)
    inner = _WIDTH - _LEFT - _RIGHT

    def across(at: float) -> float:
        return _LEFT + (at - first) / span * inner

    height = len(steps) * 2 * _ROW + _FOOT
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    for tick in range(_TICKS + 1):
        x = _LEFT + inner * tick / _TICKS
        anchor = "start" if tick == 0 else "end" if tick == _TICKS else "middle"
        parts.append(f'<line class="axis" x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height - _FOOT}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 8}" text-anchor="{anchor}">{_shown(span * tick / _TICKS)} s</text>')
    for number, step in enumerate(steps):
        top = number * 2 * _ROW
        x, width = across(step["offset_s"]), max(step["seconds"] / span * inner, _LEAST)
        x = min(x, _WIDTH - _RIGHT - width)
        name = step["what"].rpartition(" : ")[2]  # Ansible puts the role before it
        name = name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "\u2026"
        kind = "bar" if step["status"] == "ok" else "failed"
        # A name begins where there is room for it.
        place, anchor = (x, "start") if x < _WIDTH / 2 else (x + width, "end")
        parts.append(f'<text x="{place:.1f}" y="{top + 15}" text-anchor="{anchor}">{escape(name)}, {_shown(step["seconds"])} s</text>')
        parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{top + _ROW}" width="{width:.1f}" height="{_ROW - 8}" rx="2"/>')
        if step.get("window_s"):
            away = min(step["window_s"] / span * inner, width)
            # The host's own times say how long before its end the service went; clocks need not agree for that.
            before_end = min(max(_since_stop(step) / span * inner, away), width)
            left = x + width - before_end
            parts.append(f'<rect class="away" x="{left:.1f}" y="{top + _ROW - 2}" width="{away:.1f}" height="{_ROW - 4}"/>')
    return "".join([*parts, "</svg>"])


def _since_stop(step: t.Mapping[str, t.Any]) -> float:
    names = [part["what"] for part in step["parts"]]
    return sum(part["seconds"] for part in step["parts"][names.index("stop") :]) if "stop" in names else 0.0


def _shown(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.0f}"


__all__ = ("timeline_of",)
