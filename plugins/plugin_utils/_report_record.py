# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What a run was, as a record: hosts and their proof, times, the census before and after, findings. Pure.

Nothing gets into a record but what is named here, in the form that is named here: results hold more, and a report is read by many.
"""

from __future__ import annotations

import datetime
import re
import typing as t
import unicodedata

from ansible_collections.servos.ops.plugins.module_utils._audit.findings import KINDS

FORMAT = "servos.ops/report/1"
SEVERITIES = ("critical", "high", "medium", "low", "info")
OK, FAILED, SKIPPED, UNREACHABLE = "ok", "failed", "skipped", "unreachable"

_OURS = "servos.ops."
_SPEAKING = ("ansible.builtin.assert", "ansible.builtin.fail")  # in our playbooks what these say is ours
_FINGERPRINT = re.compile(r"mk:[0-9a-f]{16}")
_LONGEST_TEXT = 1000
_MARKS = ("env_key", "process_key", "staged_key", "previous_key", "withdrawn_key")
_WORDS = ("phase", "phase_before", "next_step", "reason", "key_encoding")
_COUNTS = ("rewrapped", "healed", "sealed_values", "sealed_values_before")
_TIMES = ("duration_s", "window_s", "key_age_days")
_BY_ROLE = ("active", "staged", "previous", "withdrawn", "listed", "empty", "plain", "foreign")
_SEALED_ELSEWHERE = ("staged", "previous", "withdrawn", "listed", "foreign")
_Dict = t.Dict[str, t.Any]


class Recorder:
    """Watches a run. Times are seconds since 1970 by the controller's clock."""

    def __init__(self, *, kind: str, title: str, version: str, started_at: float, is_dry: bool) -> None:
        self._head = {"format": FORMAT, "kind": kind, "title": text_of(title), "collection_version": version, "check_mode": is_dry}
        self._started_at = started_at
        self._hosts: dict[str, _Dict] = {}
        self._began: dict[tuple[str, str], float] = {}
        self._findings: list[_Dict] = []
        self._checks: list[_Dict] = []

    def began(self, host: str, task_id: str, at: float) -> None:
        """A task begins on a host."""
        self._host(host)
        self._began[(host, task_id)] = at

    def ended(self, host: str, task_id: str, name: str, action: str, status: str, result: t.Mapping[str, t.Any], at: float) -> None:
        """A task is over on a host; of its result only what is known of ours is looked at."""
        seen = self._host(host)
        began = self._began.pop((host, task_id), at)
        is_ours = action.startswith(_OURS)
        if self._head["kind"] == "audit":
            for entry in _looks_at(action[len(_OURS) :] if is_ours else "", status, result):
                self._checks.append(dict(_check_entry(entry), host=text_of(host)))
        message = ""
        if status == UNREACHABLE:
            seen["reachable"] = False
            message = "the host did not answer"
            self._note(host, "unreachable", host, message)
        elif status == FAILED:
            speaks = (is_ours or action in _SPEAKING) and not result.get("censored")
            message = text_of(result.get("msg")) if speaks and result.get("msg") else "see the run's own output for the reason"
        if status in (FAILED, UNREACHABLE):
            seen["failures"].append({"task": text_of(name), "message": message})
        if status != SKIPPED and (is_ours or status != OK or at - began >= 0.5):
            seen["timeline"].append({
                "at": _moment(began), "offset_s": round(began - self._started_at, 3), "seconds": round(at - began, 3),
                "what": text_of(name), "status": status, "changed": result.get("changed") is True,
                "window_s": _seconds(result.get("window_s")) if is_ours else None,
                "parts": _listed(result.get("timeline"), _part_entry) if is_ours else [],
            })  # fmt: skip
        if is_ours and status in (OK, FAILED):
            _take(seen, action[len(_OURS) :], result)
            self._findings += [dict(entry, host=text_of(host)) for entry in _listed(result.get("findings"), _finding_entry)]
            for subject, evidence in _of_agent(result) if action.endswith(".servos_agent_info") else ():
                self._note(host, "agent_rights", subject, evidence)
            for subject, evidence in _of_host_keys(result) if action.endswith(".servos_hostkey") and self._head["kind"] == "audit" else ():
                self._note(host, "host_keys", subject, evidence)
            for subject, evidence in _of_setup_token(result) if action.endswith(".servos_setup_token") else ():
                self._note(host, "setup_token_left", subject, evidence)
            self._checks += [dict(entry, host=text_of(host)) for entry in _listed(result.get("checks"), _check_entry)]

    def _note(self, host: str, kind: str, subject: str, evidence: str) -> None:
        """Enter a finding of an audit that no module of the host's own enters, once."""
        known = KINDS[kind]
        finding = {
            "id": kind, "severity": known.severity, "subject": text_of(subject), "evidence": text_of(evidence), "mend": known.mend,
            "role": known.role, "host": text_of(host),
        }  # fmt: skip
        if self._head["kind"] == "audit" and finding not in self._findings:
            self._findings.append(finding)

    def rescued(self, host: str) -> None:
        """What failed last on a host was expected."""
        if self._host(host)["failures"]:
            self._host(host)["failures"].pop()

    def has_hosts(self) -> bool:
        """Whether anything was done."""
        return bool(self._hosts)

    def record(self, finished_at: float) -> _Dict:
        """Return the record."""
        hosts = [self._finished(name, seen) for name, seen in self._hosts.items()]
        findings = sorted(self._findings, key=lambda finding: (SEVERITIES.index(finding["severity"]), finding["host"], finding["id"]))
        bad = [host["name"] for host in hosts if host["outcome"] != "passed"]
        return {
            **self._head, "started_at": _moment(self._started_at), "finished_at": _moment(finished_at),
            "seconds": round(finished_at - self._started_at, 3), "outcome": "failed" if bad or not hosts else "passed", "hosts": hosts,
            "findings": findings, "checks": self._checks,
        }

    def _host(self, name: str) -> _Dict:
        return self._hosts.setdefault(name, {
            "reachable": True, "failures": [], "timeline": [], "facts": {}, "keys": {}, "fields": [], "tables": [], "backups": [],
            "probes": [], "listing": None, "modules": [],
        })  # fmt: skip

    def _finished(self, name: str, seen: _Dict) -> _Dict:
        proofs = [] if self._head["check_mode"] else _proofs(seen)
        passed = seen["reachable"] and not seen["failures"] and all(proof["ok"] is not False for proof in proofs)
        windows = [step["window_s"] for step in seen["timeline"] if step["window_s"] is not None]
        return {
            "name": text_of(name), "reachable": seen["reachable"], "outcome": "passed" if passed else "failed", "proofs": proofs,
            "window_s": round(sum(windows), 3) if windows else None,
            **{part: seen[part] for part in ("failures", "facts", "keys", "fields", "tables", "backups", "timeline")},
        }


def _take(seen: _Dict, module: str, result: t.Mapping[str, t.Any]) -> None:
    """Keep what a result of ours says; what came later holds."""
    seen["modules"].append(module)
    seen["keys"].update({name: result[name] for name in _MARKS if _is_mark(result.get(name))})
    seen["facts"].update({name: text_of(result[name]) for name in _WORDS if isinstance(result.get(name), str)})
    seen["facts"].update({name: result[name] for name in _COUNTS if _is_count(result.get(name))})
    seen["facts"].update({name: result[name] for name in _TIMES if _seconds(result.get(name)) is not None})
    if result.get("process_seen") is not None:
        seen["facts"]["process_seen"] = result["process_seen"] is True
    after, before = _listed(result.get("census"), _field_entry), _listed(result.get("census_before"), _field_entry)
    if before:
        seen["before"] = before
    if after:
        seen["after"] = after
    if before or after:
        seen["fields"] = _beside(seen.get("before") or [], seen.get("after") or [])
    for name, shape in (("tables", _table_entry), ("backups", _backup_entry), ("probes", _probe_entry)):
        seen[name] = _listed(result.get(name), shape) or seen[name]
    if isinstance(result.get("listing"), dict):
        seen["listing"] = _probe_entry({"name": "the gateway's listing", **result["listing"]})
    note = result.get("backup")
    if isinstance(note, dict) and not seen["backups"]:
        seen["backups"] = _listed([note], _backup_entry)


def _looks_at(module: str, status: str, result: t.Mapping[str, t.Any]) -> t.Iterator[dict[str, str]]:
    """Yield the checks of an audit's modules that enter none: passed, or not looked at. What failed is a finding."""
    told = {"servos_agent_info": ("agent_rights", "the agent", "deviations"), "servos_hostkey": ("host_keys", "the pins", "hosts"),
            "servos_setup_token": ("setup_token_left", "the setup token", "places")}  # fmt: skip
    if module not in told:
        return
    kind, subject, listed = told[module]
    if status == SKIPPED:
        yield {"id": kind, "subject": subject, "outcome": "skipped", "reason": "it was not asked for, or there is none to look at"}
    elif status == OK and not result.get("failed") and isinstance(result.get(listed), list):
        unsearched = _texts(result.get("unsearched"))
        for reason in unsearched:
            yield {"id": kind, "subject": subject, "outcome": "skipped", "reason": reason}
        findings = {"deviations": _of_agent, "hosts": _of_host_keys, "places": _of_setup_token}[listed]
        if not unsearched and not list(findings(result)):
            yield {"id": kind, "subject": subject, "outcome": "passed", "reason": ""}


def _texts(entries: t.Any) -> list[str]:
    return [text_of(entry) for entry in entries] if isinstance(entries, (list, tuple)) else []


def _of_agent(result: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    if result.get("failed") or not isinstance(result.get("deviations"), list):
        yield "the agent", "its processes could not be looked at"
        return
    for one in result["deviations"]:
        yield f"process {one.get('pid') or 'of the agent'}", f"{one.get('what')} is {one.get('is')}, and should be {one.get('should')}"


def _of_setup_token(result: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    if result.get("failed"):
        yield "the setup token", f"it could not be looked for: {text_of(result.get('msg'))}"
    elif result.get("left_behind"):
        for one in _listed(result.get("places"), dict):
            yield text_of(one.get("where")), "the token that makes the first administrator still lies there"


def _of_host_keys(result: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    if result.get("failed") and not isinstance(result.get("hosts"), list):
        yield "the pins", "they could not be looked at"
    for one in result.get("hosts") or []:
        if isinstance(one, dict) and one.get("error"):
            yield f"{one.get('host')}:{one.get('port')}", f"its key is {one.get('status')}"


def _proofs(seen: _Dict) -> list[_Dict]:
    """Say what of a finished rotation is proven: the census, that nothing is gone, the process, and what the application reads."""
    if not {"servos_key_rotate", "servos_key_info"} & set(seen["modules"]):
        return []
    proofs, facts, keys = [], seen["facts"], seen["keys"]
    after = seen.get("after") or []
    if after:
        active = sum(field["active"] for field in after)
        elsewhere = sum(field[role] for field in after for role in _SEALED_ELSEWHERE)
        says = f"{active} of {active + elsewhere} sealed values open under {keys.get('env_key', 'the active key')}"
        proofs.append({"name": "census", "ok": elsewhere == 0, "says": says})
        before = facts.get("sealed_values_before")
        if before is not None:
            left = active + elsewhere - sum(field["foreign"] for field in after)
            proofs.append({"name": "nothing lost", "ok": left >= before, "says": f"{before} sealed values before, {left} after"})
    if facts.get("process_seen"):
        same = keys.get("process_key") == keys.get("env_key")
        says = f"the process runs on {keys.get('process_key', 'no key')}, the env file holds {keys.get('env_key', 'no key')}"
        proofs.append({"name": "process", "ok": same, "says": says})
    for probe in [*seen["probes"], *([seen["listing"]] if seen["listing"] else [])]:
        says = probe["reason"] or "read back as it should be"
        proofs.append({"name": f"read back: {probe['name']}", "ok": probe["ok"], "says": says})
    return proofs


def _beside(before: t.Sequence[_Dict], after: t.Sequence[_Dict]) -> list[_Dict]:
    places = dict.fromkeys([field["field"] for field in (*before, *after)])
    counts = [{field["field"]: {role: field[role] for role in _BY_ROLE} for field in side} for side in (before, after)]
    return [{"field": place, "before": counts[0].get(place), "after": counts[1].get(place)} for place in places]


def _listed(entries: t.Any, shape: t.Callable[[t.Mapping[str, t.Any]], _Dict]) -> list[_Dict]:
    return [shape(entry) for entry in entries if isinstance(entry, t.Mapping)] if isinstance(entries, (list, tuple)) else []


def _field_entry(entry: t.Mapping[str, t.Any]) -> _Dict:
    path = f" {text_of(entry['path'])}" if entry.get("path") else ""
    columns = entry.get("columns") if isinstance(entry.get("columns"), list) else [entry.get("column")]
    place = f"{text_of(entry.get('table'))}.{'+'.join(text_of(column) for column in columns or [])}{path}"
    return {"field": place, **{role: entry[role] if _is_count(entry.get(role)) else 0 for role in _BY_ROLE}}


def _part_entry(entry: t.Mapping[str, t.Any]) -> _Dict:
    return {"what": text_of(entry.get("what")), "seconds": round(_seconds(entry.get("seconds")) or 0.0, 3)}


def _table_entry(entry: t.Mapping[str, t.Any]) -> _Dict:
    names = ("scanned", "rewrapped", "already", "empty", "plain", "foreign")
    return {"table": text_of(entry.get("table")), **{name: entry[name] if _is_count(entry.get(name)) else 0 for name in names}}


def _backup_entry(entry: t.Mapping[str, t.Any]) -> _Dict:
    keys = entry.get("keys") if isinstance(entry.get("keys"), t.Mapping) else {}
    return {
        "path": text_of(entry.get("path")), "created_at": text_of(entry.get("created_at")), "expires_at": text_of(entry.get("expires_at")),
        "keys": {mark: count for mark, count in (keys or {}).items() if _is_mark(mark) and _is_count(count)},
    }  # fmt: skip


def _probe_entry(entry: t.Mapping[str, t.Any]) -> _Dict:
    return {"name": text_of(entry.get("name")), "ok": entry.get("ok") is True, "reason": text_of(entry.get("reason") or "")}


def _finding_entry(entry: t.Mapping[str, t.Any]) -> _Dict:
    severity = entry.get("severity") if entry.get("severity") in SEVERITIES else "medium"
    return {"severity": severity, **{name: text_of(entry.get(name) or "") for name in ("id", "subject", "evidence", "mend", "role")}}


def _check_entry(entry: t.Mapping[str, t.Any]) -> _Dict:
    outcome = entry.get("outcome") if entry.get("outcome") in ("passed", "failed", "skipped") else "skipped"
    return {"outcome": outcome, **{name: text_of(entry.get(name) or "") for name in ("id", "subject", "reason")}}


def text_of(value: t.Any) -> str:
    """Return a text that shows what it holds: one line, no control and no invisible formatting characters, not endless."""
    text = " ".join(str("" if value is None else value).split())
    shown = "".join("\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn") else character for character in text)
    return shown if len(shown) <= _LONGEST_TEXT else shown[: _LONGEST_TEXT - 1] + "\u2026"


def _is_mark(value: t.Any) -> bool:
    return isinstance(value, str) and _FINGERPRINT.fullmatch(value) is not None


def _is_count(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _seconds(value: t.Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 else None


def _moment(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


__all__ = ("FAILED", "FORMAT", "OK", "SEVERITIES", "SKIPPED", "UNREACHABLE", "Recorder", "text_of")
