# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""How a report looks: on paper, on a phone, in the dark. Colours keep a contrast of 4.5 to 1 in both schemes (WCAG 2.2, 1.4.3)."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --ink: #1c1c1e; --paper: #ffffff; --soft: #5a5a60; --line: #c9c9d0; --fill: #f3f3f6; --link:
  #0a4fa3; --good: #14652d; --bad: #a11212; --warn: #7a4b00; --bar: #3b6fb5; --away: #a11212; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf1; --paper: #17171a; --soft: #a9a9b3; --line: #45454d; --fill: #232328;
  --link: #8ab8ff; --good: #7bd493; --bad: #ff9c9c; --warn: #f2c069; --bar: #7aa7e8; --away: #ff9c9c; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; color: var(--ink); background: var(--paper); font: 1rem/1.5 system-ui,
  "Segoe UI", Roboto, "Liberation Sans", sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { position: static; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1.1rem; margin: 1.5rem 0 .5rem; }
p { margin: .4rem 0; }
.soft { color: var(--soft); }
.word { font-weight: 600; white-space: nowrap; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.warn { color: var(--warn); }
code { font: .92em ui-monospace, "Liberation Mono", monospace; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0; }
dt { color: var(--soft); }
dd { margin: 0; }
.wide { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
td { min-width: 4rem; overflow-wrap: break-word; }
td code { overflow-wrap: anywhere; }
thead th { background: var(--fill); overflow-wrap: normal; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; min-width: 0; }
figure { margin: 1rem 0; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .axis { stroke: var(--line); }
svg .bar { fill: var(--bar); }
svg .failed { fill: var(--bad); }
svg .away { fill: none; stroke: var(--away); stroke-width: 3; }
figcaption { color: var(--soft); }
ul { padding-left: 1.2rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); color: var(--soft); font-size: .9rem; }
@media (max-width: 40rem) { body { padding: .7rem; }
dl { grid-template-columns: minmax(6rem, 40%) 1fr; }
th, td { padding: .3rem .4rem; }
svg { min-width: 34rem; }
}
@media print { :root { --ink: #000; --paper: #fff; --soft: #333; --fill: #fff; --line: #888; --good: #000; --bad: #000; --warn:
  #000; --bar: #555; --away: #000; }
body { max-width: none; padding: 0; font-size: 10pt; }
.wide { overflow: visible; }
tr, figure, dl { break-inside: avoid; }
svg { min-width: 0; }
h2, h3 { break-after: avoid; }
.skip { display: none; }
a { color: inherit; }
}
"""

__all__ = ("STYLE",)
