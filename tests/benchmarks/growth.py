# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""P8: whether the cost grows in proportion to the values, once what any call costs is taken off."""

from __future__ import annotations

import typing as t

from measure import Report

FEW = 20  # one round of the payload mix; what is left of the cost at this size is opening the database and reading its schema
FEW_REPEATS = 9


def hold(report: Report, what: str, cpu_s: t.Mapping[int, float], few_cpu_s: float) -> None:
    """Hold the CPU a value at each size against that at the others, in microseconds, without the cost at C(FEW) values."""
    each = {n: (cost - few_cpu_s) / (n - FEW) * 1e6 for n, cost in cpu_s.items()}
    shown = ", ".join(f"{n}: {figure:.1f} ({cpu_s[n] / n * 1e6:.1f} with it)" for n, figure in each.items())
    report.note("P8", f"{what}: {few_cpu_s * 1e3:.1f} ms of CPU for {FEW} values; beyond that, us a value at {shown}")
    if len(each) > 1:
        spread = max(each.values()) / min(each.values())
        report.held("P8", f"{what}: CPU a value beyond that, most expensive size / cheapest", max(each), spread, at_most=1.15)


__all__ = ("FEW", "FEW_REPEATS", "hold")
