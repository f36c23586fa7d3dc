# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress while it runs, and the table at the end."""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from boundaries import thinned
from trials import Verdict

_EVERY_S = 15


def follow(
    tasks: list[Any], logs: list[Path], pids: list[int], *, plant: str, stop_after: int, limit_s: float, stop: Callable[[], None]
) -> dict[int, Verdict]:
    """Read what the workers write until they have ended; print failures as they come, and how far it is."""
    results: dict[int, Verdict] = {}
    places = dict.fromkeys(logs, 0)
    started = said = time.monotonic()
    failed, running = 0, set(pids)
    while True:
        for pid in list(running):
            if os.waitpid(pid, os.WNOHANG)[0]:
                running.discard(pid)
        is_last = not running
        for log in logs:
            content = log.read_text()[places[log] :]
            whole = content[: content.rfind("\n") + 1]
            places[log] += len(whole)
            for line in whole.splitlines():
                position, verdict = json.loads(line)
                results[position] = Verdict(*verdict)
                if results[position].problems:
                    failed += 1
                    _complain(tasks[position], results[position], plant)
        if stop_after and failed >= stop_after:
            stop()
        now = time.monotonic()
        if limit_s and now - started > limit_s:
            stop()
        if now - said >= _EVERY_S or is_last:
            said = now
            left = (now - started) / max(len(results), 1) * (len(tasks) - len(results))
            print(f"[{now - started:5.0f} s] {len(results)} of {len(tasks)} trials, {failed} failed, about {left:.0f} s left", flush=True)
        if is_last:
            return results
        time.sleep(0.1)


def _complain(task: Any, verdict: Verdict, plant: str) -> None:
    print(f"FAILED {task.place} at {task.aim or 'no boundary'} ({task.kind}), {task.fault}, then {task.way}", flush=True)
    for problem in verdict.problems:
        print(f"    {problem}", flush=True)
    if verdict.told:
        print(f"    the run had said: {verdict.told}", flush=True)
    print(f"    again: {task.command(plant)}", flush=True)


def write(
    work: Path, tasks: list[Any], results: dict[int, Verdict], traced: Any, *, seconds: float, undisturbed: dict[str, list[str]]
) -> str:
    """Write report.md and report.json, and return the former."""
    summary = summarize(tasks, results, traced, seconds=seconds, undisturbed=undisturbed)
    (work / "report.json").write_text(json.dumps(summary, indent=1) + "\n")
    text = rendered(summary)
    (work / "report.md").write_text(text)
    return text


def summarize(
    tasks: list[Any], results: dict[int, Verdict], traced: Any, *, seconds: float, undisturbed: dict[str, list[str]]
) -> dict[str, Any]:
    """Count by place and by fault."""
    places: dict[str, dict[str, Any]] = {}
    for (combination, scenario), boundaries in traced.items():
        kept = thinned(boundaries)
        places[f"{combination}/{scenario}"] = {
            "boundaries": len(boundaries), "kinds": len({boundary.kind for boundary in boundaries}), "tried_at": len(kept),
            "trials": 0, "faults": Counter(), "failed": 0, "lost": 0, "reruns": 0, "slowest_recovery_s": 0.0,
            "thinned": {f"{b.kind}": b.same for b in kept if b.same > 4},
        }  # fmt: skip
    faults: dict[str, dict[str, Any]] = defaultdict(lambda: {"trials": 0, "struck": 0, "failed": 0, "slowest_recovery_s": 0.0})
    failures = []
    for position, verdict in sorted(results.items()):
        task = tasks[position]
        place, fault = places[task.place], faults[task.fault]
        place["faults"][task.fault] += 1
        place["lost"] += any("LOST" in problem for problem in verdict.problems)
        place["reruns"] = max(place["reruns"], verdict.reruns)
        fault["struck"] += bool(verdict.fired) or task.aim is None
        for counts in (place, fault):
            counts["trials"] += 1
            counts["failed"] += bool(verdict.problems)
            counts["slowest_recovery_s"] = max(counts["slowest_recovery_s"], round(verdict.recovery_s, 2))
        if verdict.problems:
            failures.append({
                "place": task.place, "at": str(task.aim or ""), "kind": task.kind, "fault": task.fault, "then": task.way,
                "problems": verdict.problems, "told": verdict.told, "command": task.command(""),
            })  # fmt: skip
    return {
        "seconds": round(seconds), "trials": len(results), "planned": len(tasks), "failed": len(failures),
        "lost": sum(place["lost"] for place in places.values()), "reruns": max((p["reruns"] for p in places.values()), default=0),
        "slowest_recovery_s": max((p["slowest_recovery_s"] for p in places.values()), default=0.0),
        "places": places, "faults": faults, "failures": failures, "undisturbed": {k: v for k, v in undisturbed.items() if v},
    }  # fmt: skip


def rendered(summary: dict[str, Any]) -> str:
    """Render a summary as Markdown."""
    places, faults = summary["places"], summary["faults"]
    lines = [
        "# Boundaries and faults", "",
        f"{summary['trials']} of {summary['planned']} trials in {summary['seconds']} s; {summary['failed']} did not hold. "
        f"Trials in which a value was lost: {summary['lost']}. Runs needed afterwards, at most: {summary['reruns']}. "
        f"Slowest recovery: {summary['slowest_recovery_s']} s.", "",
        "| installation / playbook | boundaries | kinds | tried at | trials | did not hold | lost | reruns | slowest recovery |",
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: |",
    ]  # fmt: skip
    for name, place in places.items():
        figures = [place[key] for key in ("boundaries", "kinds", "tried_at", "trials", "failed", "lost", "reruns")]
        lines.append(f"| {name} | {' | '.join(map(str, figures))} | {place['slowest_recovery_s']} s |")
    lines += ["", "| fault | trials | struck | did not hold | slowest recovery |", "| --- | --: | --: | --: | --: |"]
    for name, fault in faults.items():
        lines.append(f"| {name} | {fault['trials']} | {fault['struck']} | {fault['failed']} | {fault['slowest_recovery_s']} s |")
    lines += ["", "Trials by installation and fault:", "", f"| | {' | '.join(faults)} |", f"| --- |{' --: |' * len(faults)}"]
    for name, place in places.items():
        lines.append(f"| {name} | {' | '.join(str(place['faults'].get(fault, 0) or '') for fault in faults)} |")
    lines += ["", "Rows of the same call on the same file, of which the first, second, middle and last are tried:", ""]
    rows: dict[str, list[str]] = defaultdict(list)
    for name, place in places.items():
        for kind, count in place["thinned"].items():
            rows[f"{kind} ({count})"].append(name)
    lines += [f"- {kind}: {', '.join(names)}" for kind, names in sorted(rows.items())]
    for place, problems in summary["undisturbed"].items():
        lines += ["", f"Undisturbed, {place}: {'; '.join(problems)}"]
    if summary["failures"]:
        lines += ["", "Did not hold:", ""]
        for failure in summary["failures"]:
            lines.append(f"- {failure['place']} at {failure['at']} ({failure['kind']}), {failure['fault']}, then {failure['then']}: "
                         f"{'; '.join(failure['problems'])}. `{failure['command']}`")  # fmt: skip
    return "\n".join(lines) + "\n"
