# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Look at everything on a control host that an audit looks at, and enter it in the ledger. Changes nothing.

A look that fails is a finding of its own; the others go on.
"""

from __future__ import annotations

import datetime
import os
import sys
import typing as t
import urllib.parse

from .._apps.certificate import certificate_of
from .._errors import ApiError, ServosError
from .._injection.engine import Runner
from .._rotation.backups import backups_by_key, read_note, what_is_amiss, without_note
from .._rotation.due import judge_due
from .._rotation.installation import Installation
from .._rotation.observe import Observation, observe
from .._stores.postgres_reach import reach_of
from .._stores.postgres_url import SCHEMES, address_of
from .._stores.urls import path_of
from .._system.addresses import is_loopback
from .._system.detached import without_message
from .._system.exposure import has_access_list, names_in, rights_of, search_readable, way_to
from .._system.process_rights import owners_of
from .._system.processes import command_lines, name_of
from .containers import judge_containers, judge_secrets_dir
from .findings import Ledger
from .keys_and_data import judge_backups, judge_data, judge_keys
from .reach import HbaRule, judge_certificate, judge_listening, judge_rules
from .rights import Rights, judge_database_file, judge_env_file, judge_folder, judge_private, judge_way
from .spellings import is_short, spellings_of

_PARTIAL = ".partial"
_OF_A_DATABASE = ("", "-wal", "-journal")  # what SQLite keeps beside it holds values too
_MOST_NAMED = 5
_OF_THE_OBSERVATION = (
    "key_doubtful", "key_old", "previous_key_kept", "process_key_differs", "process_forgotten", "values_foreign", "values_elsewhere",
    "rotation_unfinished", "values_undeclared", "canary_missing", "backup_missing", "backup_unreadable", "backup_expired", "backup_mode",
    "leftover_file", "key_in_arguments", "key_in_file", "key_in_inspect", "secret_in_inspect",
)  # fmt: skip


class Wanted(t.NamedTuple):
    """What the module's options ask for beyond the installation itself."""

    backup_dir: str | None
    max_age_days: float
    api_url: str | None
    api_ca_file: str | None
    min_certificate_days: float
    search: t.Sequence[str]
    search_most_bytes: int
    engines: t.Sequence[str]
    secrets_dir: str | None
    service_uids: frozenset[int]
    service_gids: frozenset[int]
    timeout_s: float


class Trusted(t.NamedTuple):
    """The users and groups whose files an installation's own may be: root, who runs this, and those that the service runs as."""

    uids: frozenset[int]
    gids: frozenset[int]


class Audited(t.NamedTuple):
    """The ledger of one control host, and what was observed there, as modules return it; empty where that failed."""

    ledger: Ledger
    facts: dict[str, t.Any]


def audit(installation: Installation, wanted: Wanted, *, run: Runner, now: datetime.datetime) -> Audited:
    """Look at one control host; C(run) runs the commands of container engines."""
    ledger = Ledger()
    facts: dict[str, t.Any] = {}
    seen = _look(ledger, "the installation", lambda: observe(installation))
    trusted = _trusted(wanted, seen.pid if seen is not None else None)
    looks: list[tuple[str, t.Callable[[], None]]] = [
        ("env file", lambda: _env_file(ledger, installation, trusted)),
        ("state directory", lambda: _state_dir(ledger, installation, trusted)),
        ("database", lambda: _database(ledger, installation)),
        ("API", lambda: _api(ledger, wanted, now)),
        ("secrets of injections", lambda: _injections(ledger, wanted)),
    ]
    if seen is None:
        for kind in _OF_THE_OBSERVATION:
            ledger.skipped(kind, "the installation", "it could not be looked at")
    else:
        known = seen
        facts = known.as_result()
        looks += [
            ("keys", lambda: _keys(ledger, facts, installation, known, wanted, now)),
            ("data", lambda: _data(ledger, installation, known)),
            ("backups", lambda: _backups(ledger, facts, installation, known, wanted, trusted, now)),
            ("containers", lambda: judge_containers(ledger, run, wanted.engines, keys=_needles(known), timeout_s=wanted.timeout_s)),
            ("arguments of processes", lambda: _arguments(ledger, known)),
            ("search", lambda: _search(ledger, installation, known, wanted)),
        ]
    for name, look in looks:
        _look(ledger, name, look)
    return Audited(ledger, facts)


def audit_node(wanted: Wanted, *, run: Runner) -> Ledger:
    """Look at a host that has no installation: at its containers, and at what injections have left."""
    ledger = Ledger()
    _look(ledger, "secrets of injections", lambda: _injections(ledger, wanted))
    _look(ledger, "containers", lambda: judge_containers(ledger, run, wanted.engines, keys={}, timeout_s=wanted.timeout_s))
    return ledger


T = t.TypeVar("T")


def _look(ledger: Ledger, name: str, look: t.Callable[[], T]) -> T | None:
    try:
        return look()
    except ServosError as error:
        ledger.found("could_not_look", name, str(error))
    except Exception:  # a fault of ours, whose text may quote what it stumbled over; it is not to hide the other findings
        where = " ".join(without_message(sys.exc_info()).split())
        ledger.found("could_not_look", name, f"a fault of servos.ops ({where}); report it")
    return None


def _trusted(wanted: Wanted, pid: int | None) -> Trusted:
    # Whose the service is, is what its process says; who starts it before it drops its rights is root.
    uids, gids = owners_of(pid) if pid is not None else (set(), set())
    return Trusted(frozenset({0, os.geteuid(), *uids, *wanted.service_uids}), frozenset({0, *gids, *wanted.service_gids}))


def _keys(
    ledger: Ledger, facts: dict[str, t.Any], installation: Installation, seen: Observation, wanted: Wanted, now: datetime.datetime
) -> None:
    age = None
    if seen.sight.env is not None:
        record = installation.keyring.record()
        age = judge_due(record, env_mark=seen.sight.env, rotation_id=None, max_age_days=wanted.max_age_days, now=now).age_days
    facts["key_age_days"] = None if age is None else round(age, 2)
    facts["key_encoding"] = seen.keys.active.encoding if seen.keys.active is not None else None
    judge_keys(ledger, seen, where=str(installation.env_file), age_days=age, max_age_days=wanted.max_age_days)


def _data(ledger: Ledger, installation: Installation, seen: Observation) -> None:
    expected = seen.census is not None and seen.census.canary_expected
    judge_data(ledger, seen, where=installation.database().name, canary_is_expected=expected)


def _backups(
    ledger: Ledger, facts: dict[str, t.Any], installation: Installation, seen: Observation, wanted: Wanted, trusted: Trusted,
    now: datetime.datetime,
) -> None:
    folder = wanted.backup_dir
    if not folder:
        ledger.skipped("backup_missing", "backups", "no directory is named (backup_dir)")
        return
    notes = facts["backups"] = backups_by_key(installation, seen.keys, folder)
    kept = {note["path"]: read_note(note["path"]) or {} for note in notes}
    amiss = {path: what_is_amiss(path, note) for path, note in kept.items()}
    aside = {path for path, note in kept.items() if note.get("is_set_aside")}
    judge_backups(ledger, notes, where=folder, known=seen.keys.by_fingerprint(), now=now, amiss=amiss, aside=aside)
    unknown = without_note(folder) if os.path.isdir(folder) else []
    for path in [*(note["path"] for note in notes), *unknown]:
        judge_private(ledger, "backup_mode", _rights(path), trusted_uids=trusted.uids)
    for path in unknown:
        ledger.found("backup_unreadable", path, "no note that can be understood lies beside it, so nobody knows which key opens it")
    if os.path.isdir(folder):
        judge_folder(ledger, "backup_mode", _rights(folder), trusted_uids=trusted.uids, trusted_gids=trusted.gids)
        left = sorted(os.path.join(folder, name) for name in names_in(folder) if name.endswith(_PARTIAL))
        ledger.held("leftover_file", folder, f"a stopped backup left {', '.join(left[:_MOST_NAMED])}" if left else None)


def _env_file(ledger: Ledger, installation: Installation, trusted: Trusted) -> None:
    path = installation.env_file
    if not path:
        ledger.skipped("env_file_mode", "env file", "none is named (env_file)")
        return
    way = [_rights(step, of_link=True) for step in way_to(path)]
    judge_env_file(ledger, _rights(path), way, trusted_uids=trusted.uids, trusted_gids=trusted.gids)


def _state_dir(ledger: Ledger, installation: Installation, trusted: Trusted) -> None:
    if not os.path.isdir(installation.state_dir):
        ledger.skipped("state_dir_mode", installation.state_dir, "there is none: nothing was rotated here")
        return
    judge_private(ledger, "state_dir_mode", _rights(installation.state_dir), trusted_uids=trusted.uids)
    way = [_rights(step, of_link=True) for step in way_to(os.path.dirname(installation.state_dir))]
    judge_way(ledger, "state_dir_mode", way, trusted_uids=trusted.uids, trusted_gids=trusted.gids)


def _database(ledger: Ledger, installation: Installation) -> None:
    url = installation.database_url or ""
    if url.partition("://")[0] in SCHEMES:
        address = address_of(url)
        reach = reach_of(address, installation.database_password_file)
        judge_listening(ledger, address.name, reach.listens)
        if reach.unseen:
            grants = "GRANT SELECT ON pg_hba_file_rules and EXECUTE ON FUNCTION pg_hba_file_rules()"
            ledger.skipped("database_hba_trust", address.name, f"{reach.unseen}; {grants} to it")
        else:
            judge_rules(ledger, address.name, [HbaRule(*rule) for rule in reach.rules])
            for line in reach.unread_lines:
                ledger.found("could_not_look", address.name, f"it cannot read line {line} of pg_hba.conf, and goes on with older rules")
    elif url.startswith(("sqlite:", "json:", "file:", "/")):
        for path in (path_of(url) + suffix for suffix in _OF_A_DATABASE):
            if path == path_of(url) or os.path.exists(path):
                judge_database_file(ledger, _rights(path))
    else:
        ledger.skipped("database_file_mode", installation.place().identity, "it is reached over HTTP")


def _api(ledger: Ledger, wanted: Wanted, now: datetime.datetime) -> None:
    url = wanted.api_url or ""
    if not url:
        ledger.skipped("api_plain_http", "API", "no URL is named (api_url)")
        return
    parts, name = _parts_of(url)
    if parts.scheme != "https":
        ledger.held("api_plain_http", name, None if is_loopback(parts.hostname or "") else "it is asked in clear, over a network")
        return
    shown = certificate_of(name, ca_path=wanted.api_ca_file, timeout_s=wanted.timeout_s)
    left = (shown.expires_at - now).total_seconds() / 86400 if shown.expires_at else None
    judge_certificate(ledger, name, days_left=left, problem=shown.problem, min_days=wanted.min_certificate_days)


def _parts_of(url: str) -> tuple[urllib.parse.SplitResult, str]:
    """Return the parts of a URL, and its name without user, password, path and query."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise ApiError("the URL of the API is none; correct it (api_url)") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ApiError("the URL of the API begins with https:// or http:// and a host; correct it (api_url)")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return parts, f"{parts.scheme}://{host}{port}"


def _injections(ledger: Ledger, wanted: Wanted) -> None:
    if wanted.secrets_dir:
        judge_secrets_dir(ledger, wanted.secrets_dir)


def _search(ledger: Ledger, installation: Installation, seen: Observation, wanted: Wanted) -> None:
    if not wanted.search:
        ledger.skipped("key_in_file", "files that others may read", "no places are named (search)")
        return
    spare = {os.path.realpath(installation.env_file)} if installation.env_file else set()
    result = search_readable(wanted.search, _needles(seen), most_bytes=wanted.search_most_bytes, spare=spare)
    short = [f"the {seen.keys.role_of(mark)} key {mark}" for mark, key in seen.keys.by_fingerprint().items() if is_short(key)]
    for path, names in result.found:
        ledger.found("key_in_file", path, f"every user of the host may read it, and {', '.join(names)} stands in it")
    if not result.found and not result.left_out and not short:
        ledger.passed("key_in_file", ", ".join(wanted.search))
    for text in [*result.left_out, *(f"{name} is a text that is too short to be told from other words" for name in short)]:
        ledger.skipped("key_in_file", "files that others may read", text)


def _arguments(ledger: Ledger, seen: Observation) -> None:
    needles, found = _needles(seen), False
    for pid, words in sorted(command_lines().items()):
        names = [name for name, forms in needles.items() if any(form in words for form in forms)]
        if names:
            found = True
            evidence = f"every user of the host may read its arguments, and {', '.join(names)} stands in them"
            ledger.found("key_in_arguments", f"process {pid} ({name_of(pid)})", evidence)
    if not found:
        ledger.passed("key_in_arguments", "all processes")


def _needles(seen: Observation) -> dict[str, list[bytes]]:
    """Return the forms in which each known key may stand somewhere, by how it may be named."""
    return {
        f"the {seen.keys.role_of(mark)} key {mark}": spellings_of(key) for mark, key in seen.keys.by_fingerprint().items()
    }


def _rights(path: str, *, of_link: bool = False) -> Rights:
    status = os.lstat(path) if of_link else rights_of(path)
    return Rights(path, status.st_mode, status.st_uid, status.st_gid, has_access_list(path))


__all__ = ("Audited", "Wanted", "audit", "audit_node")
