# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The API method: the application rewraps its own data, and we look at what it did."""

from __future__ import annotations

import time
import typing as t

from .._apps.servos import post_rotation
from .._errors import ApiError, FileError, KeyMissingError, NoAnswerYetError, UnknownOutcomeError
from .._keys.keyring import key_file_text
from .._keys.material import MasterKey
from .._system import files
from .observe import Observation
from .run import Run

_TURNS, _TURN_S = 3, 0.5


def require_api(run: Run) -> None:
    """Refuse a run whose request could not be sent.

    Raises:
        ApiError, FileError: a URL or a token is missing, or the application has no such endpoint.
    """
    options = run.options
    if not options.api_url or not options.api_token_file:
        raise ApiError("method=api has not both of api_url and api_token_file; nothing was changed; give both, or use method=database")
    if not run.installation.profile.rotate_path:
        raise ApiError(f"the profile {run.installation.profile.app} has no rotation endpoint; use method=database")
    _token(run)


def _token(run: Run) -> str:
    try:
        content = files.read_file(str(run.options.api_token_file), limit_bytes=64 * 1024)
    except FileError as error:
        raise ApiError(f"{error}; nothing was changed; name a file with an administrator's token (api_token_file)") from None
    return key_file_text(content).strip()


def rotate_by_api(run: Run, before: Observation, target: MasterKey, look: t.Callable[[], Observation]) -> Observation:
    """Send one POST; whatever it answers, the census says what happened.

    Effects: may start a stopped service; the application rewrites its data. Returns what is seen afterwards.

    Raises:
        ApiError: nothing was changed.
        ForeignValueError: the application left values that no known key opens.
    """
    options, active = run.options, before.keys.active
    service = run.installation.service()
    if service is not None and service.main_pid() is None:
        run.start(service)
    if active is None:
        raise KeyMissingError(
            "method=api needs the active key, and the env file holds none; "
            "put it there (env_file, env_var), or use method=database"
        )
    token = _token(run)
    doubt: UnknownOutcomeError | None = None
    started = time.monotonic()
    try:
        post_rotation(
            str(options.api_url), path=str(run.installation.profile.rotate_path), token=token,
            old_text=active.reveal_text(), new_text=target.reveal_text(), encoding=active.encoding,
            timeout_s=options.api_timeout_s, ca_path=options.api_ca_file,
        )
    except UnknownOutcomeError as error:
        doubt = error
    run.did["duration_s"] = round(time.monotonic() - started, 3)
    after = look()
    for unused_turn in range(_TURNS if isinstance(doubt, NoAnswerYetError) else 0):
        if after.sight.sealed != before.sight.sealed:
            break
        # A server that did not answer in time may still be at work.
        time.sleep(_TURN_S)
        after = look()
    if after.census is not None:
        after.census.refuse_foreign(after.keys.described())
    moved = after.sight.sealed.get(target.fingerprint, 0)
    if not moved and before.sight.sealed:
        still = f"every value in {run.installation.database_url} still opens under {active.fingerprint}"
        if isinstance(doubt, NoAnswerYetError):
            raise ApiError(
                f"{doubt}; so far {still}; the application may still be at work: raise api_timeout, and run again later, which is safe"
            )
        if doubt is not None:
            raise ApiError(f"{doubt}; {still}: nothing was changed; run again, which is safe")
        raise ApiError(f"the API says that it has rotated, but {still}; is this the database of that API? nothing else was changed")
    if doubt is not None:
        run.warnings.append(f"{doubt}; the census shows that it has rotated")
    run.did["rewrapped"] += moved
    left = after.sight.count_elsewhere(target.fingerprint)
    if left:
        run.warnings.append(
            f"{left} values are under the old key after the API's rotation, because it left them out or the old process wrote them since; "
            "they are rewrapped in the database"
        )
    return after


__all__ = ("require_api", "rotate_by_api")
