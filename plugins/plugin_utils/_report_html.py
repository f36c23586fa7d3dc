# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A record as one page of HTML that needs nothing else: no network, no script. Pure.

What hosts and databases are called is not to be trusted: all of it passes through one function that escapes it, and the page's own policy
lets a browser load and run nothing.
"""

from __future__ import annotations

import base64
import hashlib
import typing as t
from html import escape

from ansible_collections.servos.ops.plugins.plugin_utils._report_style import STYLE
from ansible_collections.servos.ops.plugins.plugin_utils._report_timeline import timeline_of

_ROLES = {
    "active": "active", "staged": "staged", "previous": "previous", "withdrawn": "withdrawn", "listed": "listed", "empty": "empty",
    "plain": "plain", "foreign": "foreign",
}  # fmt: skip
_FACTS = {
    "reason": "Why", "phase_before": "Phase before", "phase": "Phase", "rewrapped": "Values rewrapped",
    "healed": "Values brought over later", "sealed_values": "Sealed values", "duration_s": "Rewrap, seconds", "next_step": "Next step",
    "key_age_days": "Active key in force for, days", "key_encoding": "Active key written as",
}  # fmt: skip
_KEYS = {
    "env_key": "Active key (env file)", "process_key": "Key of the process", "staged_key": "Staged key", "previous_key": "Previous key",
    "withdrawn_key": "Withdrawn key",
}  # fmt: skip
_SEVERE = {"critical": "bad", "high": "bad", "medium": "warn", "low": "soft", "info": "soft"}
_Record = t.Mapping[str, t.Any]


def html_of(record: _Record) -> str:
    """Return the page."""
    style_hash = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; form-action 'none'"
    title = f"{record['title']}: {record['outcome']}"
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        '<a class="skip" href="#hosts">Skip to the hosts</a>',
        *_head(record),
        "<main>",
        *_findings(record),
        '<h2 id="hosts">Hosts</h2>',
        *[line for number, host in enumerate(record["hosts"]) for line in _host(host, number)],
        *([] if record["hosts"] else ["<p>No host was reached.</p>"]),
        *_checks(record),
        "</main>",
        f"<footer><p>servos.ops {escape(record['collection_version'])}, {escape(record['format'])}. Keys are shown by their fingerprints "
        "only; nothing in this page opens a value.</p></footer>",
        "</body>",
        "</html>",
        "",
    ])  # fmt: skip


def _head(record: _Record) -> list[str]:
    dry = "<p><strong>Check mode: nothing was changed.</strong></p>" if record["check_mode"] else ""
    counts: dict[str, int] = {}
    for finding in record["findings"]:
        counts[finding["severity"]] = counts.get(finding["severity"], 0) + 1
    found = ", ".join(f"{count} {severity}" for severity, count in counts.items()) or "none"
    facts = [
        ("Outcome", _verdict(record["outcome"] == "passed")),
        ("Began", _time(record["started_at"])), ("Ended", _time(record["finished_at"])), ("Took", f"{record['seconds']:.1f} s"),
        ("Hosts", str(len(record["hosts"]))), ("Findings", escape(found)),
    ]  # fmt: skip
    return ["<header>", f"<h1>{escape(record['title'])}</h1>", dry, _facts(facts), "</header>"]


def _host(host: _Record, number: int) -> list[str]:
    facts = [("Outcome", _verdict(host["outcome"] == "passed"))]
    if host["window_s"] is not None:
        facts.append(("Service away", f"{host['window_s']:.2f} s"))
    facts += [(label, escape(str(host["facts"][name]))) for name, label in _FACTS.items() if name in host["facts"]]
    facts += [(label, f"<code>{escape(host['keys'][name])}</code>") for name, label in _KEYS.items() if name in host["keys"]]
    lines = [f'<section aria-labelledby="host{number}">', f'<h3 id="host{number}">{escape(host["name"])}</h3>', _facts(facts)]
    if host["failures"]:
        lines += ["<h4>What failed</h4>", "<ul>"]
        lines += [f"<li><strong>{escape(failure['task'])}</strong>: {escape(failure['message'])}</li>" for failure in host["failures"]]
        lines.append("</ul>")
    if host["proofs"]:
        rows = [[_verdict(proof["ok"]), escape(proof["name"]), escape(proof["says"])] for proof in host["proofs"]]
        lines += _table("Proof", ["Outcome", "What", "Seen"], rows)
    if host["timeline"]:
        away = f"; the frame is the {host['window_s']:.2f} s without the service" if host["window_s"] else ""
        picture = timeline_of(host["timeline"], label=f"Times of the steps on {host['name']}, as in the table below")
        picture = f'<div class="wide" role="region" tabindex="0" aria-label="Line of time">{picture}</div>'
        lines.append(f"<figure>{picture}<figcaption>Steps on the host, in seconds from the first{escape(away)}.</figcaption></figure>")
        rows = [[_time(step["at"]), escape(step["what"]) + _parts(step["parts"]), f"{step['seconds']:.2f}", escape(step["status"])]
                for step in host["timeline"]]  # fmt: skip
        lines += ["<details>", "<summary>Steps as a table</summary>"]
        lines += [*_table("Steps", ["Began", "Step", "Seconds", "Outcome"], rows, numbers={2}), "</details>"]
    lines += _census(host["fields"])
    if host["backups"]:
        rows = [[f"<code>{escape(backup['path'])}</code>", escape(", ".join(f"{mark}: {count}" for mark, count in backup["keys"].items())),
                 _time(backup["expires_at"])] for backup in host["backups"]]  # fmt: skip
        lines += _table("Backups, which keep values under the keys that they name", ["File", "Values by key", "Expires"], rows)
    return [*lines, "</section>"]


def _census(fields: t.Sequence[_Record]) -> list[str]:
    if not fields:
        return []
    sides = [side for field in fields for side in (field["before"], field["after"]) if side]
    roles = [role for role in _ROLES if role == "active" or any(side[role] for side in sides)]
    rows = []
    for field in fields:
        cells = [f"<code>{escape(field['field'])}</code>"]
        for role in roles:
            before, after = (str(field[side][role]) if field[side] else "" for side in ("before", "after"))
            cells.append(f"{before} \u2192 {after}" if before and after and before != after else after or before)
        rows.append(cells)
    caption = "Census: values by the key that opens them, before \u2192 after where that differs"
    return _table(caption, ["Field", *[_ROLES[role] for role in roles]], rows, numbers=set(range(1, len(roles) + 1)))


def _findings(record: _Record) -> list[str]:
    if not record["findings"]:
        return ["<h2>Findings</h2>", "<p>None.</p>"] if record["kind"] == "audit" else []
    rows = [
        [f'<span class="word {_SEVERE[one["severity"]]}">{escape(one["severity"])}</span>', escape(one["host"]),
         f"{escape(one['id'])} <code>{escape(one['subject'])}</code><br>{escape(one['evidence'])}",
         escape(one["mend"]) + (f" <code>{escape(one['role'])}</code>" if one["role"] else "")]
        for one in record["findings"]
    ]  # fmt: skip
    return ["<h2>Findings</h2>", *_table("Findings, the most severe first", ["Severity", "Host", "What was seen", "How to mend"], rows)]


def _checks(record: _Record) -> list[str]:
    if not record["checks"]:
        return []
    rows = [
        [escape(one["outcome"]), escape(one["host"]), escape(one["id"]), f"<code>{escape(one['subject'])}</code> {escape(one['reason'])}"]
        for one in record["checks"]
    ]
    title = f"<summary>{len(rows)} checks</summary>"
    return ["<h2>Checks</h2>", "<details>", title, *_table("What was looked at", ["Outcome", "Host", "Check", "Of"], rows), "</details>"]


def _facts(pairs: t.Sequence[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{shown}</dd>" for name, shown in pairs) + "</dl>"


def _table(caption: str, names: t.Sequence[str], rows: t.Sequence[t.Sequence[str]], *, numbers: t.Container[int] = ()) -> list[str]:
    """Return the lines of a table. The cells are HTML, and escaped by who made them."""

    def kind(column: int) -> str:
        return ' class="number"' if column in numbers else ""

    head = "".join(f'<th scope="col"{kind(column)}>{escape(name)}</th>' for column, name in enumerate(names))
    lines = ['<div class="wide" role="region" tabindex="0" aria-label="' + escape(caption) + '">', "<table>"]
    lines += [f"<caption>{escape(caption)}</caption>", f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    lines += ["<tr>" + "".join(f"<td{kind(column)}>{cell}</td>" for column, cell in enumerate(row)) + "</tr>" for row in rows]
    return [*lines, "</tbody>", "</table>", "</div>"]


def _parts(parts: t.Sequence[_Record]) -> str:
    shown = ", ".join(f"{part['what']} {part['seconds']:.2f} s" for part in parts)
    return f'<br><span class="soft">{escape(shown)}</span>' if shown else ""


def _verdict(passed: bool) -> str:
    """A word as well as a colour."""
    return f'<span class="word {"good" if passed else "bad"}">{"passed" if passed else "failed"}</span>'


def _time(moment: str) -> str:
    shown = escape(moment)
    return f'<time datetime="{shown}">{shown.replace("T", " ", 1)}</time>' if moment else ""


__all__ = ("html_of",)
