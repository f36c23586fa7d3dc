# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Hold what a running gateway lists against what the data holds: does it read its rows, and rightly?

The keys and the data are here, so what the gateway must show of each row is known: there is no need to remember what it
showed before a rotation. Plaintexts, and what is shown of them, stay in memory; results name rows and reasons.
"""

from __future__ import annotations

import typing as t

from .._apps.provara import LISTED_TABLE, ShownRow, admin_headers, masks_of, read_listing, session_headers
from .._errors import ProfileError, ServosError, StoreError
from .._sealing.aes_gcm import Cipher
from .._sealing.codecs import codec_named
from .._system.files import read_file
from .counting import Reader
from .installation import Installation
from .observe import Keys
from .profile import Field

_NAMED = 20
_WIDTH = 80


class KeptRow(t.NamedTuple):
    """A row as the data has it. C(masks) is what may be shown of it, empty where it opens under no known key."""

    row_id: str
    name: str
    tenant: str | None
    masks: frozenset[str]


def hold_listing(installation: Installation, keys: Keys, options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Ask the gateway for its listing and hold it against the data. Changes nothing.

    Args:
        options: C(url), C(admin_key_file) or C(session_cookie_file) or neither, C(ca_file), C(timeout).

    Returns:
        C(ok), C(reason) (empty when ok), C(rows) in the data, C(listed), C(matching), C(unseen) rows of other tenants,
        C(failures) with id, name and reason.

    Raises:
        ProfileError: the application has no such listing.
    """
    field = _field_of(installation)
    ciphers = list(keys.ciphers().values())

    def kept() -> dict[str, KeptRow]:
        return installation.database().read(lambda reader: {row.row_id: row for row in _rows(reader, field, ciphers)})

    before = kept()
    try:
        shown = read_listing(
            options["url"], headers=_headers(options), timeout_s=options["timeout"], ca_path=options.get("ca_file")
        )
    except ServosError as error:
        return _result(str(error), rows=len(before))
    by_tenant = bool(options.get("session_cookie_file"))
    result = compare(shown, [before], by_tenant=by_tenant)
    if not result["ok"]:
        # Somebody may have edited a key between the one look and the other; then either is right.
        result = compare(shown, [before, kept()], by_tenant=by_tenant)
    return result


def compare(shown: t.Sequence[ShownRow], states: t.Sequence[t.Mapping[str, KeptRow]], *, by_tenant: bool) -> dict[str, t.Any]:
    """Hold a listing against what the data held; a row is right if it is so in any of the C(states). Pure.

    Args:
        by_tenant: whether the gateway shows one tenant's rows only; then all of that tenant's must be there.
    """
    failures: list[dict[str, str]] = []
    seen: set[str] = set()
    matching = 0
    for row in shown:
        reason = "is listed twice" if row.row_id in seen else _fault_of(row, [state[row.row_id] for state in states if row.row_id in state])
        seen.add(row.row_id)
        if reason:
            known = next((state[row.row_id].name for state in states if row.row_id in state), "")
            failures.append(_failure(row.row_id, known, reason))
        else:
            matching += 1
    latest = states[-1]
    tenants = {state[row_id].tenant for state in states for row_id in seen if row_id in state}
    unseen = 0
    for row_id, kept in latest.items():
        if row_id in seen or any(row_id not in state for state in states):
            continue
        if by_tenant and kept.tenant not in tenants:
            unseen += 1
        else:
            failures.append(_failure(row_id, kept.name, "is not listed"))
    reason = ""
    if failures:
        reason = f"the gateway does not show {len(failures)} of {len(latest)} rows of {LISTED_TABLE} as the data has them"
        reason += f": {failures[0]['name'] or failures[0]['id']} {failures[0]['reason']}" + (" ..." if failures[1:] else "")
    elif not latest:
        reason = f"{LISTED_TABLE} has no row, so that its listing proves nothing"
    elif not shown:
        reason = "the session shows no row, which proves nothing; take one of a tenant that has some (session_cookie_file)"
    return _result(reason, rows=len(latest), listed=len(shown), matching=matching, unseen=unseen, failures=failures[:_NAMED])


def _fault_of(row: ShownRow, kept: t.Sequence[KeptRow]) -> str:
    """Say what is wrong with a row that is shown; nothing if it is as in any state."""
    if not kept:
        return "is listed and not in the data"
    if row.is_unreadable:
        return "cannot be opened by the gateway (decrypt error): it runs with another key than the row is under"
    if any(row.name == each.name and row.masked in each.masks for each in kept):
        return ""
    if not any(each.masks for each in kept):
        return "opens under no known key here, so what is shown of it cannot be checked"
    if not any(row.name == each.name for each in kept):
        return "is listed under another name"
    return "is shown with another ending than its value has"


def _failure(row_id: str, name: str, reason: str) -> dict[str, str]:
    return {"id": _printable(row_id), "name": _printable(name), "reason": reason}


def _printable(text: str) -> str:
    """What comes from outside is cut short, and loses what a terminal might act on."""
    return "".join(c if c.isprintable() else "?" for c in text[:_WIDTH])


def _result(
    reason: str, *, rows: int, listed: int | None = None, matching: int = 0, unseen: int = 0,
    failures: t.Sequence[dict[str, str]] = (),
) -> dict[str, t.Any]:
    return {
        "ok": not reason, "reason": reason, "rows": rows, "listed": listed, "matching": matching, "unseen": unseen,
        "failures": list(failures),
    }


def _headers(options: t.Mapping[str, t.Any]) -> dict[str, str]:
    for name, headers_of in (("admin_key_file", admin_headers), ("session_cookie_file", session_headers)):
        path = options.get(name)
        if path:
            return headers_of(read_file(path, limit_bytes=64 * 1024).decode("utf-8", "replace").strip(), where=path)
    return {}


def _field_of(installation: Installation) -> Field:
    found = next((field for field in installation.profile.fields if field.table == LISTED_TABLE and field.path is None), None)
    if installation.profile.app != "provara" or found is None:
        raise ProfileError(f"the application {installation.profile.app} does not list {LISTED_TABLE}: leave listing out, and give probes")
    return found


def _rows(reader: Reader, field: Field, ciphers: t.Sequence[Cipher]) -> t.Iterator[KeptRow]:
    table = next((found for found in reader.tables() if found.name == field.table), None)
    if table is None:
        raise StoreError(f"the database has no table {field.table}; nothing was changed; name the right one (database)")
    codec = codec_named(field.codec)
    # Databases from before tenants have no such column.
    named = [column for column in ("id", "name", "tenant_id") if column in table.columns]
    for unused_address, cells in reader.rows(table, [*named, *field.columns]):
        row = dict(zip(named, cells))
        opened = (codec.open(cipher, tuple(cells[len(named) :])) for cipher in ciphers)
        plaintext = next((found for found in opened if found is not None), None)
        masks = masks_of(plaintext) if plaintext is not None else frozenset()
        yield KeptRow(str(row["id"]), str(row["name"]), row.get("tenant_id"), masks)


__all__ = ("KeptRow", "compare", "hold_listing")
