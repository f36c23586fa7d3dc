# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callback: a report of a run, for people and for pipelines."""

from __future__ import annotations

DOCUMENTATION = """
name: report
type: notification
short_description: Write a report of a run as JSON, JUnit and HTML
version_added: 0.1.0
author:
  - servos.ops contributors (@servos-ops)
description:
  - Writes C(NAME.json), C(NAME.junit.xml) and C(NAME.html) at the end of a run, whatever became of it. A host that failed or did not
    answer is in them. C(NAME) is the playbook's name and the time.
  - The collection's own playbooks do so by themselves where the variable C(servos_report_dir) names a directory. To have it for a
    playbook of your own, enable it (C(callbacks_enabled = servos.ops.report)) and set the same variable.
  - Nothing of a result gets into a report but what is known to be harmless. Keys are shown by their fingerprints.
requirements:
  - to be enabled, for playbooks that are not of this collection
options:
  report_dir:
    description: Where reports are written on the controller, if C(servos_report_dir) is not set. Made (C(0700)) if it is missing.
    type: path
    ini:
      - section: callback_servos_report
        key: report_dir
    env:
      - name: SERVOS_REPORT_DIR
seealso:
  - name: The guide on reports
    description: What is in a report, how it is signed, and how it is read by pipelines.
    link: https://github.com/servos-ops/servos.ops/blob/main/docs/reports.md
"""

import contextlib
import json
import os
import tempfile
import time
import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar
from ansible_collections.servos.ops.plugins.module_utils._errors import ServosError
from ansible_collections.servos.ops.plugins.module_utils._system import files
from ansible_collections.servos.ops.plugins.plugin_utils import _report_record as records
from ansible_collections.servos.ops.plugins.plugin_utils._report_html import html_of
from ansible_collections.servos.ops.plugins.plugin_utils._report_junit import junit_of

_VARIABLE = "servos_report_dir"
_KINDS = {"rotate", "rehearse", "rollback", "retire", "audit", "harden", "pika", "inject", "hostkeys"}


class CallbackModule(CallbackBase):
    """Listens to a run, and writes what it was."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "servos.ops.report"
    CALLBACK_NEEDS_ENABLED = True

    _is_taken = False  # a run has one report, also where the callback is enabled and the playbook brings its own

    def __init__(self, *arguments: t.Any, **options: t.Any) -> None:
        super().__init__(*arguments, **options)
        self._recorder: records.Recorder | None = None
        self._name = ""
        self._directory = ""

    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        """Begin a record."""
        if CallbackModule._is_taken:
            return
        CallbackModule._is_taken = True
        stem = os.path.splitext(os.path.basename(getattr(playbook, "_file_name", None) or "run"))[0]
        self._name = "".join(character if character.isalnum() or character in "-_" else "-" for character in stem) or "run"
        self._started_at = time.time()
        self._recorder = records.Recorder(
            kind=self._name if self._name in _KINDS else "run", title=f"servos.ops: {self._name}", version=_version(),
            started_at=self._started_at, is_dry=_is_dry(),
        )

    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """Find the directory; one that takes no report ends the run before anything is done."""
        if self._recorder is None or self._directory:
            return
        manager = play.get_variable_manager()
        self._directory = self._directory_for(play, manager, next(iter(self._hosts_of(play, manager)), None))
        if self._directory:
            self._require_writable(self._directory)

    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        """A task begins on a host."""
        if self._recorder is not None:
            self._recorder.began(host.get_name(), task._uuid, time.time())

    def v2_runner_on_ok(self, result: t.Any) -> None:
        """A task succeeded."""
        self._note(result, records.OK)

    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """A task failed; one whose failure is ignored or looked for did what it was to do."""
        self._note(result, records.OK if ignore_errors else records.FAILED)

    def v2_runner_on_skipped(self, result: t.Any) -> None:
        """A task was left out."""
        self._note(result, records.SKIPPED)

    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """A host does not answer."""
        self._note(result, records.UNREACHABLE)

    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Write the report. What goes wrong now is a warning: what was done is done."""
        if self._recorder is None or not self._recorder.has_hosts():
            return
        for host in stats.rescued:
            if not stats.failures.get(host):
                self._recorder.rescued(host)
        directory = self._directory
        if not directory:
            return
        record = self._recorder.record(time.time())
        if _is_dry():
            self._display.display(f"A report would be written to {directory}; check mode writes nothing.")
            return
        stem = ""
        try:
            if not os.path.isdir(directory):
                files.ensure_private_directory(directory)
            began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._started_at))
            stem = taken_name(os.path.join(directory, f"{self._name}-{began}"))
            for ending, content in _contents(record):
                files.write_private_file(stem + ending, content)
        except (ServosError, OSError) as error:
            if stem:  # a name that was taken is let go of, if nothing came to stand there
                with contextlib.suppress(OSError):
                    if os.path.getsize(f"{stem}.json") == 0:
                        os.unlink(f"{stem}.json")
            self._display.warning(
                f"no report was written to {directory} ({error}); the run itself is not touched by that; name a directory that you may "
                f"write to ({_VARIABLE})"
            )
            return
        self._display.display(f"Report: {stem}.html (and .json, .junit.xml)")

    def _note(self, result: t.Any, status: str) -> None:
        if self._recorder is None:
            return
        task, seen = result._task, result._result
        action = getattr(task, "resolved_action", None) or task.action
        self._recorder.ended(
            result._host.get_name(), task._uuid, task.get_name(), str(action), status, seen if isinstance(seen, dict) else {}, time.time()
        )

    @staticmethod
    def _hosts_of(play: t.Any, manager: t.Any) -> list[t.Any]:
        inventory = getattr(manager, "_inventory", None)
        return list(inventory.get_hosts(play.hosts)) if inventory is not None else []

    def _directory_for(self, play: t.Any, manager: t.Any, host: t.Any) -> str:
        """Ask the variables of a host, as a task of its would see them."""
        variables = manager.get_vars(play=play, host=host)
        if not variables.get(_VARIABLE):
            return os.path.abspath(os.path.expanduser(found)) if (found := self.get_option("report_dir")) else ""
        try:
            named = Templar(loader=getattr(manager, "_loader", None), variables=variables).template(variables[_VARIABLE])
        except AnsibleError as error:
            self._refuse(f"{_VARIABLE} cannot be understood ({error})")
        return os.path.abspath(os.path.expanduser(str(named))) if named else ""

    def _require_writable(self, directory: str) -> None:
        try:
            if os.path.isdir(directory) and not _is_dry():
                with tempfile.TemporaryFile(dir=directory):
                    pass
            elif not _is_dry():
                files.ensure_private_directory(directory)
        except (ServosError, OSError) as error:
            self._refuse(f"no report can be written to {directory} ({getattr(error, 'strerror', None) or error})")

    def _refuse(self, reason: str) -> t.NoReturn:
        self._display.error(f"{reason}. Nothing was done. Name a directory that you may write to, or none ({_VARIABLE}).")
        # What else a callback raises is a warning, and the run would go on.
        raise SystemExit(1)


def taken_name(stem: str) -> str:
    """Take the first name that is free for a report, by an empty file: runs that began in the same second have one each."""
    name, number = stem, 1
    while True:
        try:
            os.close(os.open(f"{name}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            return name
        except FileExistsError:
            number += 1
            name = f"{stem}-{number}"


def _contents(record: dict[str, t.Any]) -> list[tuple[str, bytes]]:
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=True) + "\n"
    return [(".json", text.encode()), (".junit.xml", junit_of(record)), (".html", html_of(record).encode())]


def _is_dry() -> bool:
    from ansible import context

    return bool(context.CLIARGS.get("check"))


def _version() -> str:
    path = os.path.join(os.path.dirname(__file__), "..", "..")
    for name, key in (("MANIFEST.json", "collection_info"), ("galaxy.yml", "")):
        try:
            with open(os.path.join(path, name), encoding="utf-8") as stream:
                if key:
                    return str(json.load(stream)[key]["version"])
                return next(line.partition(":")[2].strip() for line in stream if line.startswith("version:"))
        except (OSError, ValueError, KeyError, StopIteration):
            continue
    return "unknown"
