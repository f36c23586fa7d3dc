# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""How a module runs its one call and leaves: the one place that turns an error into a failure, and facts into a diff."""

from __future__ import annotations

import sys
import typing as t

from .._errors import ServosError
from .._system.detached import DetachedError, without_message
from .._system.memory import children_without_core_files, keep_out_of_core_dumps
from .masking import without_masked

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Result = t.Dict[str, t.Any]


def run_guarded(module: AnsibleModule, work: t.Callable[[], Result], *, mask: t.Callable[[], None] = lambda: None) -> None:
    """Run the work of a module and leave through exit_json or fail_json; never return.

    C(work) returns the result; what it holds under C(_warnings), C(_before) and C(_after) becomes warnings and the diff.
    C(mask) registers what must not be printed; it is called before anything is.

    Effects: from here on this process, and each fork of it, leaves no core dump.
    """
    keep_out_of_core_dumps()
    try:
        result = work()
    except ServosError as error:
        mask()
        facts = dict(error.facts)
        _warn(module, facts)
        module.fail_json(**_printable(module, dict(facts, msg=str(error), error=type(error).__name__)))
        return
    except Exception as error:  # a fault of ours: its text may quote what it stumbled over, so only its place is shown
        where = str(error) if isinstance(error, DetachedError) else without_message(sys.exc_info())
        module.fail_json(
            msg="unexpected error; this is a fault of servos.ops; report the lines of exception, and see where things stand "
            "(servos_key_info, or the same task in check mode)",
            error=type(error).__name__, exception=where,
        )
        return
    mask()
    before, after = result.pop("_before", None), result.pop("_after", None)
    _warn(module, result)
    if before is not None or after is not None:
        result["diff"] = {"before": _lines(before or {}), "after": _lines(after or {})}
    module.exit_json(**_printable(module, result))


def _warn(module: AnsibleModule, facts: Result) -> None:
    for text in facts.pop("_warnings", ()):
        module.warn(_printable(module, without_masked(module, text)))


def _printable(module: AnsibleModule, value: t.Any) -> t.Any:
    """Return the same with texts that UTF-8 can carry. Names of files need not be such, and Ansible takes no result that has another."""
    if isinstance(value, dict):
        return {_printable(module, name): _printable(module, entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(module, entry) for entry in value]
    if not isinstance(value, str):
        return value
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # masked before it is changed, since it would not be known again
        return str(without_masked(module, value)).encode("utf-8", "backslashreplace").decode("utf-8")
    return value


def run_command(module: AnsibleModule, argv: list[str], environment: t.Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run a command by Ansible's own means, and let a missing one be an OSError; C(environment) is added to ours."""
    variables = dict(environment or {}, LC_ALL="C.UTF-8")
    done: tuple[int, str, str] = module.run_command(argv, environ_update=variables, handle_exceptions=False)
    return done


def engine_runner(module: AnsibleModule) -> t.Callable[[list[str], t.Mapping[str, str]], tuple[int, str, str]]:
    """Return the runner of a container engine: words as they stand, since "$HOME" in a command is the container's."""

    def run(argv: list[str], environment: t.Mapping[str, str]) -> tuple[int, str, str]:
        done: tuple[int, str, str] = module.run_command(
            argv, environ_update=dict(environment, LC_ALL="C.UTF-8"), handle_exceptions=False, expand_user_and_vars=False,
            errors="surrogateescape",
        )
        return done

    return run


def run_with_input(module: AnsibleModule, argv: list[str], content: bytes) -> tuple[int, bytes, bytes]:
    """Run a command with bytes on its standard input, nothing of its arguments expanded; a missing one is an OSError."""
    with children_without_core_files():
        done: tuple[int, bytes, bytes] = module.run_command(
            argv, data=content, binary_data=True, encoding=None, expand_user_and_vars=False, handle_exceptions=False,
            environ_update={"LC_ALL": "C.UTF-8"},
        )
    return done


def run_with_descriptors(module: AnsibleModule, argv: list[str], descriptors: t.Sequence[int]) -> tuple[int, str, str]:
    """Run a command that keeps some of our descriptors, nothing of its arguments expanded; a missing one is an OSError."""
    with children_without_core_files():
        done: tuple[int, str, str] = module.run_command(
            argv, pass_fds=list(descriptors), expand_user_and_vars=False, handle_exceptions=False, environ_update={"LC_ALL": "C.UTF-8"}
        )
    return done


def _lines(facts: t.Mapping[str, t.Any]) -> str:
    """Render facts one a line, so that a diff shows what differs."""
    rows = []
    for name, value in facts.items():
        if name == "census":
            rows += [_census_line(row) for row in value]
        else:
            rows.append(f"{name}: {value if value is not None else '-'}")
    return "\n".join(rows) + "\n" if rows else ""


def _census_line(row: t.Mapping[str, t.Any]) -> str:
    place = f"{row['table']}.{row['column']}" + (f" {row['path']}" if row.get("path") else "")
    counts = ", ".join(
        f"{name} {row[name]}" for name in ("active", "staged", "previous", "withdrawn", "empty", "plain", "foreign") if row.get(name)
    )
    return f"{place}: {counts or 'nothing'}"


__all__ = ("Result", "engine_runner", "run_command", "run_guarded", "run_with_descriptors", "run_with_input")
