# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs under audit, made once and two at a time; the tests then judge what was found."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

# E402: what is rewritten has to be named before it is imported.
pytest.register_assert_rewrite("audit", "node")

from audit import Audit, new_key  # noqa: E402
from forms import forms_of_key, forms_of_text  # noqa: E402
from planted import HERE as PLANTED_FOLDER  # noqa: E402
from planted import OF_MANY_LINES, PLANTED  # noqa: E402
from search import Searched, Secret  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / ".work" / "leaks"
DECOYS = {
    "temporary directories": "/tmp/decoy", "core dumps": "/var/tmp/cores/core.decoy", "remote temp": "/home/deployer/.ansible/tmp/decoy",
}  # fmt: skip


class Case(NamedTuple):
    """What is run: on which ansible-core, by which method, how modules travel; or the planted leaks."""

    name: str
    core: str
    method: str
    pipelining: bool


class Result(NamedTuple):
    """What an audited run has left to judge."""

    searched: Searched
    secrets: list[Secret]
    held: int
    open: int
    watched: dict[str, Any]
    verdict: dict[str, Any]
    duration_s: float


# Both methods in each: the playbook's is said here, the jobs use the database.
QUICK = [Case("newest-api", "newest", "api", False)]
FULL = [
    *QUICK, Case("newest-database", "newest", "database", True), Case("oldest-api", "oldest", "api", True),
    Case("oldest-database", "oldest", "database", False),
]  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("leaks")
    group.addoption("--quick", action="store_true", help="one method, on the ansible-core that is installed here")
    group.addoption("--oldest", type=Path, help="the bin directory of an environment with the oldest ansible-core that is supported")
    group.addoption("--between", type=Path, action="append", default=[], help="the same of one more, for masking")


def cases_of(config: pytest.Config) -> list[Case]:
    return QUICK if config.getoption("quick") else FULL


def planted_cases_of(config: pytest.Config) -> list[Case]:
    cores = dict.fromkeys(case.core for case in cases_of(config))
    return [Case(f"{core}-planted", core, "planted", False) for core in cores]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "run" in metafunc.fixturenames:
        metafunc.parametrize("run", cases_of(metafunc.config), ids=lambda case: case.name, indirect=True, scope="session")
    if "masking_core" in metafunc.fixturenames:
        cores = masking_cores_of(metafunc.config)
        metafunc.parametrize("masking_core", [core[1:] for core in cores], ids=[core[0] for core in cores], scope="session")
    if "planted_run" in metafunc.fixturenames:
        metafunc.parametrize(
            "planted_run", planted_cases_of(metafunc.config), ids=lambda case: case.core, indirect=True, scope="session"
        )


def masking_cores_of(config: pytest.Config) -> list[tuple[str, Path, bool]]:
    """Name the versions that masking is tried on, where they are, and whether they have the API of 2.22."""
    newest = Path(sys.executable).parent
    if not config.getoption("quick") and config.getoption("oldest") is None:
        raise pytest.UsageError("give --oldest, or --quick")
    others = [] if config.getoption("quick") else [config.getoption("oldest"), *config.getoption("between")]
    cores = [(version_of(path), path, False) for path in [newest, *others]]
    return [*cores, ("2.22 by a stand-in", newest, True)]


def version_of(programs: Path) -> str:
    """Ask an ansible-core which one it is."""
    said = subprocess.run([programs / "ansible", "--version"], check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout
    return said.partition("core ")[2].partition("]")[0]


def programs_of(config: pytest.Config, core: str) -> Path:
    """Return where ansible-playbook of that core is."""
    path = Path(sys.executable).parent if core == "newest" else config.getoption("oldest")
    if path is None or not (path / "ansible-playbook").exists():
        raise pytest.UsageError(f"there is no ansible-playbook in {path}; give --oldest, or --quick")
    return path


def audit_of(config: pytest.Config, case: Case) -> Audit:
    collections = os.environ["ANSIBLE_COLLECTIONS_PATH"]
    return Audit(
        case.name, WORK / case.name, programs=programs_of(config, case.core), collections=collections, pipelining=case.pipelining
    )


def result_of(audit: Audit) -> Result:
    """Search, with a secret of no one in the places where a good run leaves nothing."""
    decoy = Secret("decoy", new_key(), "decoy")
    audit.add(decoy)
    for path in DECOYS.values():
        audit.node.run(["sh", "-c", 'cat > "$1"', "sh", path], decoy.text.encode())
    searched = audit.search()
    secrets = [secret for kind in ("key", "token", "plaintext") for secret in audit.secrets(kind)]
    duration_s = time.monotonic() - audit.began
    return Result(searched, secrets, len(audit.held), len(audit.open), audit.watched, audit.node.judge(), duration_s)


def rotate_and_retire(config: pytest.Config, case: Case) -> Result:
    """Rotate, stopped by a kill and by a service that is never ready; take it back; rotate again; retire; and all by jobs."""
    is_quick = config.getoption("quick")
    api = {"servos_api_url": "http://127.0.0.1:8080", "servos_api_token_file": "/etc/servos/admin_token"}
    method = api if case.method == "api" else {}
    with audit_of(config, case) as audit:
        audit.be_killed("python-that-leaves-cores")
        not_ready = {"servos_health_url": "http://127.0.0.1:9/", "servos_start_timeout": 2}
        audit.play("around", leaks_playbook="servos.ops.rotate", servos_rotation_id="killed", fails=True, **(method | not_ready))
        escrow = {"servos_escrow": {"vault_file": audit.escrow}}
        audit.play("around", leaks_playbook="servos.ops.rotate", servos_rotation_id="killed", **(method | escrow))
        if not is_quick:
            audit.play("around", leaks_playbook="servos.ops.rollback")
            audit.play("around", leaks_playbook="servos.ops.retire")
            brought = {"servos_rotation_id": "brought", "servos_new_key_file": "/root/judge/brought.key"}
            audit.play("around", leaks_playbook="servos.ops.rotate", **(method | brought))
        audit.node.keep()
        audit.play("around", leaks_playbook="servos.ops.retire")
        audit.play("by_jobs", *(["--skip-tags", "thorough"] if is_quick or case.pipelining else []))
        return result_of(audit)


def plant(config: pytest.Config, case: Case) -> Result:
    """Leave a leak of each kind, and let a module without its protection die where it holds keys."""
    with audit_of(config, case) as audit:
        audit.be_killed("python-unprotected")
        markers = WORK / f"{case.name}-markers"
        markers.mkdir(mode=0o700, exist_ok=True)
        audit.node.run(["mkdir", "-m", "0700", "/root/judge/markers"])
        for name in PLANTED:
            text, kind = (new_key(), "key") if name not in OF_MANY_LINES else ("\n".join(new_key() for unused in range(5)), "plaintext")
            (markers / name).write_text(text)
            audit.node.run(["sh", "-c", f"cat > /root/judge/markers/{name}"], text.encode())
            audit.add(Secret(f"planted {name}", text, kind))
        audit.play("planted", leaks_markers=str(markers), leaks_planted=str(PLANTED_FOLDER), leaks_names=list(PLANTED))
        return result_of(audit)


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Result]]]:
    """Every run, under way, two at a time."""
    subprocess.run([ROOT / "tests/lab/node-image"], check=True, stdout=subprocess.DEVNULL, timeout=600)
    config = request.config
    with ThreadPoolExecutor(max_workers=2) as pool:
        begun = {case.name: pool.submit(rotate_and_retire, config, case) for case in cases_of(config)}
        begun |= {case.name: pool.submit(plant, config, case) for case in planted_cases_of(config)}
        config.stash[_RESULTS] = begun
        yield begun


@pytest.fixture(scope="session")
def run(request: pytest.FixtureRequest, results: dict[str, Future[Result]]) -> Result:
    return outcome_of(request.param, results)


@pytest.fixture(scope="session")
def planted_run(request: pytest.FixtureRequest, results: dict[str, Future[Result]]) -> Result:
    return outcome_of(request.param, results)


def outcome_of(case: Case, results: dict[str, Future[Result]]) -> Result:
    error = results[case.name].exception()
    if error is not None:
        pytest.fail(f"{case.name}: {type(error).__name__}: {error}", pytrace=False)
    return results[case.name].result()


_RESULTS = pytest.StashKey[dict[str, "Future[Result]"]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was searched, for what, and what was found."""
    for name, future in config.stash.get(_RESULTS, {}).items():
        if future.done() and not future.exception():
            terminalreporter.section(f"leaks: {name}")
            for line in told(name, future.result()):
                terminalreporter.write_line(line)


def told(name: str, result: Result) -> Iterator[str]:
    kinds = {kind: sum(secret.kind == kind for secret in result.secrets) for kind in ("key", "token", "plaintext")}
    secrets = ", ".join(f"{count} {kind}s" for kind, count in kinds.items())
    yield f"{result.duration_s:.0f} s; {secrets}, {result.searched.needles} texts that they could have been written as"
    for place, (items, size) in sorted(result.searched.counts.items()):
        yield f"{place:24}{items:6} items {size:12} bytes"
    watched = result.watched
    yield f"processes: {watched['looks']} looks, {watched['execs']} execs of this machine told of; {watched['cpu_s']:.1f} s of a processor"
    yield f"search: {result.searched.cpu_s:.1f} s of a processor"
    planted = {finding.secret for finding in result.searched.findings if finding.secret.startswith("planted ")}
    if name.endswith("planted"):
        yield f"planted leaks caught: {len(planted)}/{len(PLANTED)}"
    else:
        leaks = [finding for finding in result.searched.findings if finding.kind != "decoy"]
        yield f"processes that held a key when they were killed: {result.held}; leaks: {len(leaks)}"


def pytest_report_header() -> str:
    forms = dict.fromkeys([*forms_of_key(new_key()), *forms_of_text("text " * 20)])
    return f"looked for: {', '.join(forms)}; each over line breaks, and in zip, gzip and Base64 of these"
