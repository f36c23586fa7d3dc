# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leaks on purpose: one of each kind that Ansible and its users are known for, and what the audit must say of it."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent / "planted"

# Name of the task file, and the places and forms in which the audit must have found it at least.
PLANTED: dict[str, list[tuple[str, str]]] = {
    "argv": [("argv", "plain")],
    "short_argv": [("argv", "plain")],
    "environ": [("environments", "plain")],
    "task_environment": [("output", "plain"), ("argv", "plain"), ("environments", "plain")],
    "loop_item": [("output", "plain"), ("JSON artifacts", "plain")],
    "diff_of_copy": [("output", "plain"), ("JSON artifacts", "plain"), ("other files", "plain"), ("controller temp", "plain")],
    "diff_of_template": [("output", "base64 of the text"), ("other files", "base64 of the text")],
    "exception_text": [("output", "plain"), ("JSON artifacts", "plain")],
    "registered_result": [("output", "plain"), ("JSON artifacts", "plain")],
    "cacheable_fact": [("fact cache", "plain")],
    "debug_message": [("output", "plain"), ("log file", "plain")],
    "task_name": [("output", "plain"), ("JUnit artifacts", "plain"), ("JSON artifacts", "plain")],
    "readable_temporary_file": [("temporary directories", "plain")],
    "shared_memory": [("temporary directories", "plain")],
    "module_argument": [("remote temp", "plain"), ("system log", "plain"), ("output", "plain")],
    "masked_argument": [("remote temp", "plain")],
    "job_file": [("async jobs", "plain")],
    "junit_artifact": [("JUnit artifacts", "plain")],
    "json_artifact": [("JSON artifacts", "hex")],
    "log_file": [("log file", "HEX")],
    "system_log": [("system log", "plain")],
    "core_dump": [("core dumps", "raw bytes"), ("core dumps", "plain")],
    "inside_base64": [("output", "base64 of a longer text")],
    "hex_in_file": [("other files", "hex")],
    "url": [("output", "URL-encoded"), ("system log", "URL-encoded")],
    "split_at_64": [("temporary directories", "hex, split by line breaks")],
    "split_at_76": [("output", "base64 of a longer text, split by line breaks")],
    "compressed": [("runtime directory", "plain, in gzip")],
    "packed": [("temporary directories", "plain, in base64, in zip")],
    "failed_stderr": [("output", "plain"), ("JUnit artifacts", "plain")],
    "backup_note": [("backups", "JSON-escaped")],
    "record": [("state directory", "base64url")],
    "list_of_numbers": [("output", "list of numbers")],
    "controllers_home": [("controller home", "plain")],
    "plaintext_line": [("output", "plain")],
    "plaintext_in_json": [("output", "plain")],
    "tree_artifact": [("tree artifacts", "plain")],
}

# A secret of more lines than one, as SSH keys are.
OF_MANY_LINES = ("plaintext_line", "plaintext_in_json")
