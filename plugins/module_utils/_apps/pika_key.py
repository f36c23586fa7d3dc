# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Pika's calls that concern its server key, and what each of their answers means.

The status alone does not tell: 403 is a wrong key or a missing capability, 503 is the lock or a cluster without a leader. An answer is
told by how its message begins, since the class of the error stands behind its last colon; only the lock gate has a header of its own.
A message may quote what was sent, so none is ever passed on.
"""

from __future__ import annotations

import typing as t

from .._errors import ApiError, UnknownOutcomeError
from .http_base import Answer
from .pika_session import MANAGE, Pika, come_back, described

_DONE = {
    "initialize": "server initialized and unlocked",
    "unlock": "server unlocked",
    "lock": "server locked",
    "rotate": "server key rotated",
}
# By status and the beginning of the message.
_SAID = {
    (400, "key is required"): "no_key",
    (400, "old and new keys are required"): "no_key",
    (400, "new key must differ from old key"): "same_key",
    (400, "server is not initialized"): "not_initialized",
    (403, "invalid server key"): "wrong_key",
    (403, "invalid old key"): "wrong_key",
    (403, "verifier format mismatch"): "no_verifier",
    (403, f'capability "{MANAGE}" required'): "no_capability",
    (409, "server is already initialized"): "initialized",
    (500, "rewrap secrets failed"): "not_resealed",
    (500, "rewrap server-managed vault keys failed"): "vaults_not_resealed",
    (500, "read server-managed vault keys"): "vaults_unreadable",
    (503, "cluster: no leader available"): "no_leader",
}
_UNREADABLE = "sealed payload corrupt or unreadable"
_SECRETS_FIRST = "cannot persist secret values"
_BY_STATUS = {400: "malformed", 401: "no_login", 404: "no_such_call", 405: "no_such_call", 413: "too_large", 429: "too_many"}
# An answer of one of these says that nothing was done. One that fails inside (500) leaves that to be asked.
SETTLED = frozenset(
    (
        "initialized", "locked", "malformed", "no_capability", "no_key", "no_leader", "no_login", "no_such_call", "no_verifier",
        "not_initialized", "same_key", "too_large", "too_many", "wrong_key",
    )
)  # fmt: skip
_MEANING = {
    "no_key": "it was sent an empty key; put one into its file",
    "same_key": "the new key is the one in force; give another one",
    "not_initialized": "encryption was never turned on; use state=initialized",
    "wrong_key": "this is not its key; name the file that holds it (key_file)",
    "no_verifier": "the key opens its verifier, but what is in there is not Pika's: the database is damaged; restore a backup",
    "no_capability": f"the account lacks the capability {MANAGE}; an API token never has it in the versions known here; "
    "give username and password_file of an account that does",
    "initialized": "it has a key already; use state=unlocked",
    "not_resealed": "it could not write its secrets under the new key",
    "vaults_not_resealed": "it is under the new key, but some of the vault keys that it manages are not",
    "vaults_unreadable": "a vault key that it manages does not open under its own key; nothing was changed; restore the last backup",
    "unreadable": "it cannot read its own secrets with the key that it has in memory",
    "secrets_first": "its settings hold secrets from before it has a key, and those it refuses to seal; take them out of the settings, "
    "initialize, then enter them again",
    "no_leader": "the cluster has no leader just now; nothing was changed; run again later",
    "locked": "it is locked; unlock it first (state=unlocked)",
    "malformed": "it did not understand the request; see its log, and whether its version is one of docs/pika.md",
    "no_login": "it does not take the login (any more); run again",
    "no_such_call": "it has no such call; correct url (base path), or this version is too old",
    "too_large": "the key is too large for it; give a shorter one",
    "unclear": "the answer is none that Pika is known to give",
}


class KeyStatus(t.NamedTuple):
    """What the server says without a login. C(is_readable) is False where it fails over its own secrets instead (500)."""

    initialized: bool
    unlocked: bool
    is_readable: bool = True

    @property
    def name(self) -> str:
        """One word for it."""
        if not self.is_readable:
            return "unreadable"
        return "uninitialized" if not self.initialized else "unlocked" if self.unlocked else "locked"


def key_status(pika: Pika) -> KeyStatus:
    """Ask whether the server has a key, and has it in memory. Needs no login.

    Raises:
        ApiError: no answer, or none of a Pika.
    """
    answer = pika.send("GET", "/api/v1/key/status")
    found = answer.document
    if answer.status == 200 and isinstance(found, dict):
        initialized, unlocked = found.get("initialized"), found.get("unlocked")
        if isinstance(initialized, bool) and isinstance(unlocked, bool) and "json" in answer.content_type:
            return KeyStatus(initialized, unlocked)
    if answer.status == 500 and isinstance(found, dict):
        return KeyStatus(True, True, is_readable=False)
    if answer.status in (502, 503, 504):
        raise ApiError(
            f"{pika.url}/api/v1/key/status {described(answer)}: it is not ready, or a gateway before it does not reach it; nothing was "
            "changed; run again when it is up"
        )
    raise ApiError(
        f"{pika.url}/api/v1/key/status {described(answer)}: this is no Pika with server keys, or url lacks its base path; "
        "nothing was changed; correct url"
    )


def judge(answer: Answer, call: str) -> str:
    """Name what an answer to a call means: V(done), or one of the words that C(refusal) explains."""
    status = answer.status
    document = answer.document if isinstance(answer.document, dict) and "json" in answer.content_type else {}
    text = document.get("message")
    said = text.strip() if isinstance(text, str) else ""
    if status >= 500 and answer.content_type == "text/plain":
        said = answer.text.strip()  # the cluster speaks without JSON
    if status == 503 and answer.headers.get("x-pika-locked", "").lower() == "true":
        return "locked"
    if status == 200:
        return "done" if said == _DONE.get(call) else "unclear"
    if 300 <= status < 400:
        return "no_login"
    # By its beginning: what it quotes, and the class of the error, stand behind colons.
    for (its_status, beginning), meaning in _SAID.items():
        if status == its_status and said.startswith(beginning):
            return meaning
    if status == 500:
        if _SECRETS_FIRST in said:
            return "secrets_first"
        return "unreadable" if _UNREADABLE in said else "unclear"
    return _BY_STATUS.get(status, "unclear")


def initialize(pika: Pika, key_text: str) -> None:
    """Turn encryption on, with a key.

    Raises:
        UnknownOutcomeError: it may be on: the record is written before the key is in memory.
        ApiError: it is not.
    """
    answer = pika.send("POST", "/api/v1/key/initialize", {"key": key_text})
    meaning = judge(answer, "initialize")
    if meaning != "done":
        raise refusal(pika, "initialize", answer, meaning)


def unlock(pika: Pika, key_text: str) -> bool:
    """Try a key against the verifier on disk: the oracle. Returns whether it is the right one, and then in memory.

    It writes nothing on disk; a wrong key counts with the server's limiter.

    Raises:
        ApiError: it answered something else.
    """
    answer = pika.send("POST", "/api/v1/key/unlock", {"key": key_text})
    meaning = judge(answer, "unlock")
    if meaning in ("done", "wrong_key"):
        return meaning == "done"
    raise refusal(pika, "unlock", answer, meaning)


def lock(pika: Pika) -> None:
    """Make the server forget its key. It reads no settings, so it works where others fail."""
    answer = pika.send("POST", "/api/v1/key/lock")
    meaning = judge(answer, "lock")
    if meaning != "done":
        raise refusal(pika, "lock", answer, meaning)


def rotate(pika: Pika, *, old_text: str, new_text: str) -> None:
    """Ask for the rotation, once. Returns only when the server says that it was done.

    Raises:
        UnknownOutcomeError: it may have been done, at least in part: ask the disk by C(unlock).
        ApiError: it was not.
    """
    answer = pika.send("POST", "/api/v1/key/rotate", {"current_key": old_text, "new_key": new_text})
    meaning = judge(answer, "rotate")
    if meaning != "done":
        raise refusal(pika, "rotate", answer, meaning)


def refusal(pika: Pika, call: str, answer: Answer, meaning: str) -> ApiError:
    """Return the error that says what an answer means; its C(facts) hold the word for it."""
    at = f"{pika.url}/api/v1/key/{call} {described(answer)}"
    if meaning == "too_many":
        text = f"{at}: too many wrong keys or logins; nothing was changed; {come_back(answer)}"
    elif meaning == "locked" and call == "initialize":
        text = f"{at}: it has a key already, and is locked; use state=unlocked"
    else:
        text = f"{at}: {_MEANING[meaning]}"
    kind = ApiError if meaning in SETTLED else UnknownOutcomeError
    return kind(text, pika_answer=meaning)


__all__ = ("SETTLED", "KeyStatus", "initialize", "judge", "key_status", "lock", "refusal", "rotate", "unlock")
