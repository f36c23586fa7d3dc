# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Ask the running application to read a value back, which is the one proof that no file and no count can give."""

from __future__ import annotations

import typing as t

from .._errors import ServosError
from .._system.files import read_file
from .http_base import request


def run_probes(probes: t.Sequence[t.Mapping[str, t.Any]], *, timeout_s: float) -> list[dict[str, t.Any]]:
    """Run each probe with the token in its C(token_file); a token that cannot be read is a failed probe."""
    results = []
    for probe in probes:
        try:
            path = probe.get("token_file")
            token = read_file(path, limit_bytes=64 * 1024).decode("ascii", "replace").split()[0] if path else None
        except (ServosError, IndexError) as error:
            reason = str(error) if isinstance(error, ServosError) else f"{path} is empty"
            results.append({"name": probe["name"], "ok": False, "status": None, "reason": reason})
            continue
        results.append(run_probe(probe, token=token, timeout_s=timeout_s))
    return results


def run_probe(probe: t.Mapping[str, t.Any], *, token: str | None, timeout_s: float) -> dict[str, t.Any]:
    """Send one GET and judge the answer; its body is looked at and forgotten.

    Args:
        probe: C(name), C(url), C(status) to expect, C(forbid) texts (any letter case) that mean failure.

    Returns:
        C(name), C(ok), C(status) (or None) and C(reason) (empty when ok).
    """
    name, wanted = probe["name"], probe["status"]
    try:
        answer = request("GET", probe["url"], token=token, body=None, timeout_s=timeout_s, ca_path=probe.get("ca_file"))
    except ServosError as error:
        return {"name": name, "ok": False, "status": None, "reason": str(error)}
    forbidden = [text for text in probe["forbid"] if text.lower() in answer.text.lower()]
    reason = ""
    if answer.status != wanted:
        reason = f"answered {answer.status}, expected {wanted}"
    elif forbidden:
        reason = f"answered {answer.status}, but with the text {forbidden[0]!r}"
    elif not answer.text.strip():
        reason = f"answered {answer.status} with nothing"
    elif "html" in answer.content_type and not probe["html"]:
        reason = f"answered {answer.status} with a web page"
    return {"name": name, "ok": not reason, "status": answer.status, "reason": reason}


__all__ = ("run_probe", "run_probes")
