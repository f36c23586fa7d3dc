# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report in a real browser: nothing runs over the edge, all text has contrast, nothing is loaded, and pictures to look at."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.servos.ops.plugins.plugin_utils import _report_record as records
from ansible_collections.servos.ops.plugins.plugin_utils._report_html import html_of

LONG = "/var/lib/a-very-long-name-of-a-directory/" * 4 + "servos-20261123T055155.667560Z.db"
OLD, NEW = "mk:" + "0" * 16, "mk:" + "1" * 16
PICTURES = Path(__file__).resolve().parents[2] / ".work" / "browser"
# The page forbids scripts to itself, so another one looks into it.
LOOKER = """<!DOCTYPE html><meta charset="utf-8"><body><pre id="said"></pre>
<iframe id="page" src="report.html" width="{width}" height="2000"></iframe>
<script>
const light = c => {{ const [r, g, b] = c.match(/[0-9.]+/g).map(n => (n /= 255) <= 0.03928 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; }};
const under = e => {{ for (; e; e = e.parentElement) {{ const c = e.ownerDocument.defaultView.getComputedStyle(e).backgroundColor;
  if (!c.endsWith(', 0)')) return c; }} return 'rgb(255, 255, 255)'; }};
page.onload = () => {{
  const d = page.contentDocument, low = [];
  for (const e of d.querySelectorAll('body *')) {{
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const style = d.defaultView.getComputedStyle(e), a = light(e.closest('svg') ? style.fill : style.color), b = light(under(e));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) low.push([e.tagName, e.textContent.slice(0, 40), contrast]);
  }}
  said.textContent = JSON.stringify({{wide: d.documentElement.scrollWidth, low, ink: d.defaultView.getComputedStyle(d.body).color,
    loaded: d.defaultView.performance.getEntriesByType('resource').length}});
}};
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "there is no browser here: apt-get install chromium"
    return found


@pytest.fixture
def page(tmp_path: Path) -> Path:
    counts = {"table": "servers", "columns": ["ssh_private_key"], "active": 123456}
    result = {
        "changed": True, "phase": "activated", "rewrapped": 12, "window_s": 1.5, "env_key": NEW, "process_key": OLD, "process_seen": True,
        "sealed_values_before": 12, "census_before": [counts], "census": [{**counts, "previous": 7, "foreign": 1}],
        "findings": [
            {"id": "env_file_mode", "severity": severity, "subject": LONG, "evidence": "every user of the host reads the key " * 3,
             "mend": "make it 0600", "role": "servos.ops.env_swap"} for severity in records.SEVERITIES
        ],
        "checks": [{"id": "key_age", "subject": "key", "outcome": "passed"}],
        "backups": [{"path": LONG, "keys": {OLD: 12}, "expires_at": "2026-12-23T00:00:00Z"}],
    }  # fmt: skip
    recorder = records.Recorder(kind="audit", title="servos.ops: audit", version="0.1.0", started_at=0.0, is_dry=False)
    for number, (host, status) in enumerate((("control.of.an.installation.example", "ok"), ("b", "failed"), ("c", "unreachable"))):
        recorder.began(host, "1", float(number))
        recorder.ended(host, "1", f"Look {LONG}", "servos.ops.servos_audit", status, {**result, "msg": LONG}, number + 2.5)
    path = tmp_path / "report.html"
    path.write_text(html_of(recorder.record(5.0)))
    return path


def look(browser: str, page: Path, *argv: str) -> str:
    command = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run",
        "--allow-file-access-from-files", f"--user-data-dir={page.parent / 'profile'}", "--hide-scrollbars", *argv,
    ]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 1200])
def test_it_fits_and_can_be_read(browser: str, page: Path, width: int, scheme: str) -> None:
    (page.parent / "looker.html").write_text(LOOKER.format(width=width))
    as_scheme = [f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"]
    text = look(browser, page, *as_scheme, "--virtual-time-budget=3000", "--dump-dom", f"file://{page.parent / 'looker.html'}")
    found = re.search(r'<pre id="said">(.*?)</pre>', text, re.S)
    assert found, text[:500]
    said: dict[str, Any] = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert said["wide"] <= width
    assert said["low"] == []
    assert said["loaded"] == 0
    assert (said["ink"] == "rgb(236, 236, 241)") == (scheme == "dark")
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture = PICTURES / f"report-{width}-{scheme}.png"
    look(browser, page, *as_scheme, f"--screenshot={picture}", f"--window-size={width},{3000 if width < 500 else 2000}", f"file://{page}")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_it_can_be_printed(browser: str, page: Path) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    printed = PICTURES / "report.pdf"
    look(browser, page, f"--print-to-pdf={printed}", "--no-pdf-header-footer", f"file://{page}")
    assert printed.read_bytes().startswith(b"%PDF")
