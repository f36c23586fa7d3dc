# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plot: CPU a value against the number of values, a panel a database, the same logarithmic axes in all."""

from __future__ import annotations

import math
import typing as t
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _LEGEND = 460, 300, 70, 60, 190
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_DASHES = ("", "7 3", "2 3")  # where the colours begin anew
_OURS = "our rewrap, read-back included"
_Points = t.Dict[int, float]


def drawn(rows: t.Iterable[t.Mapping[str, t.Any]], machine: str) -> str:
    """Return the SVG of all rows that are points of a line."""
    panels: dict[str, dict[str, _Points]] = {}
    for row in rows:
        if row.get("line"):
            panel, line = row["line"]
            cpu_s = row["cpu_s"] + (row.get("server_s") or 0)
            panels.setdefault(panel, {}).setdefault(line, {})[row["n"]] = max(cpu_s, 1e-6) / row["n"] * 1e6
    lines = list(dict.fromkeys(line for of_panel in panels.values() for line in of_panel))
    width, height = _LEFT + max(1, len(panels)) * (_WIDTH + _LEFT), _TOP + _HEIGHT + _LEGEND
    body = [_text(_LEFT, 22, "CPU microseconds a value, by number of values", size=16), _text(_LEFT, 42, machine, size=11)]
    every = [points for of_panel in panels.values() for points in of_panel.values()]
    if every:
        across, up = _Axis([n for points in every for n in points]), _Axis([figure for points in every for figure in points.values()])
        for number, (panel, of_panel) in enumerate(panels.items()):
            body += _panel(_LEFT + number * (_WIDTH + _LEFT), panel, of_panel, lines, across, up)
    for number, line in enumerate(lines):
        x, y = _LEFT + number % 2 * 480, _TOP + _HEIGHT + 60 + number // 2 * 22
        body.append(f'<line x1="{x}" y1="{y}" x2="{x + 24}" y2="{y}" {_stroke(number, line)}/>')
        body.append(_text(x + 32, y + 4, line))
    size = f'width="{width}" height="{height}"'
    # As wide as the window, and never wider than drawn.
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" style="max-width: {width}px" font-family="sans-serif">'
    return "\n".join([head, f'<rect {size} fill="white"/>', *body, "</svg>"]) + "\n"


def _panel(left: int, name: str, lines: t.Mapping[str, _Points], order: t.Sequence[str], across: _Axis, up: _Axis) -> list[str]:
    def place(n: float, figure: float) -> tuple[float, float]:
        return left + across.share(n) * _WIDTH, _TOP + (1 - up.share(figure)) * _HEIGHT

    frame = f'<rect x="{left}" y="{_TOP}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#888"/>'
    body = [frame, _text(left + 8, _TOP + 18, name, size=13)]
    for n in across.decades():
        x = place(n, up.low)[0]
        body.append(_text(x, _TOP + _HEIGHT + 18, f"{n:,.0f}", anchor="middle"))
    for figure in up.decades():
        y = place(across.low, figure)[1]
        body.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + _WIDTH}" y2="{y:.1f}" stroke="#ddd"/>')
        body.append(_text(left - 6, y + 4, f"{figure:g}", anchor="end"))
    for line, points in lines.items():
        number, places = order.index(line), [place(n, figure) for n, figure in sorted(points.items())]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        body.append(f'<polyline points="{joined}" fill="none" {_stroke(number, line)}/>')
        body += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{_colour(number)}"/>' for x, y in places]
    return body


class _Axis:
    """From the power of ten at or below the least figure to that at or above the largest."""

    def __init__(self, figures: t.Sequence[float]) -> None:
        self.first = math.floor(math.log10(min(figures)))
        self.last = max(math.ceil(math.log10(max(figures))), self.first + 1)
        self.low = 10.0**self.first

    def share(self, figure: float) -> float:
        return (math.log10(figure) - self.first) / (self.last - self.first)

    def decades(self) -> list[float]:
        return [10.0**power for power in range(self.first, self.last + 1)]


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _stroke(number: int, line: str) -> str:
    dash = _DASHES[number // len(_COLOURS) % len(_DASHES)]
    return f'stroke="{_colour(number)}" stroke-width="{5 if line == _OURS else 2}"' + (f' stroke-dasharray="{dash}"' if dash else "")


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
