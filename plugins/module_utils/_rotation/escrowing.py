# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Put a key into escrow before any data is under it: seal it, read back what was written, open that, compare.

What is asked for is remembered before the key exists on disk, and what is there is seen from the files: a run that was
killed anywhere in between leaves a key that M(servos.ops.servos_key_rotate) refuses, and the same call finishes it.

Sealing is the program age's work; opening for the comparison is ours (C(_sealing/age_file)), with a key that is made for
each file as one more recipient, and forgotten with it.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import os
import typing as t

from .._errors import EscrowError, ServosError
from .._keys.escrow import Wish, entries_of, missing_kinds, note_path, read_note, stem_of, write_note
from .._keys.material import MasterKey
from .._keys.shares import require_sharing, share_text, split_key
from .._sealing import age_file, hpke
from .._system import files
from .._system.read_back import read_from_disk
from .due import written
from .escrow_gate import remember_wish
from .installation import Installation
from .vault_escrow import seal_for_controller

# Runs a command with bytes on its standard input; OSError where it cannot be run.
Runner = t.Callable[[t.List[str], bytes], t.Tuple[int, bytes, bytes]]

AGE_MISSING = (
    "the program age cannot be run on the managed host; install the package age (Debian, Ubuntu, Fedora, EPEL) and run again; "
)
_TRIAL = b"servos.ops tries age before it trusts it with a key\n"


class Escrowing:
    """One call's work on the escrow of one installation.

    Args:
        run: runs age.
        vault_recipient: the public key of the controller's action, where it is to write a vault file.
        receipt: what that action has written, on its second call.
    """

    def __init__(
        self, installation: Installation, wish: Wish, *, run: Runner, now: datetime.datetime,
        vault_recipient: bytes | None = None, receipt: t.Mapping[str, t.Any] | None = None,
    ) -> None:
        self._installation, self._wish, self._run, self._now = installation, wish, run, now
        self._vault_recipient, self._receipt = vault_recipient, receipt

    def require_means(self, *, write: bool) -> None:
        """Refuse, before a key is made, what would fail after it.

        Raises:
            ServosError: age, the sharing library, the action plugin or a place to write to is missing.
        """
        wish = self._wish
        if wish.vault and self._vault_recipient is None and self._receipt is None:
            raise EscrowError(
                "escrow.vault_file is written on the controller by the action plugin of servos_keyring, and that did not run; "
                "nothing was changed; call the module as servos.ops.servos_keyring, and not under another name"
            )
        if wish.holders:
            require_sharing()
        for recipients in filter(None, (wish.age_recipients, wish.holders)):
            # A recipient that age does not take, a plug-in that is missing: better found on a text of no worth.
            sealed, private = self._sealed(_TRIAL, recipients, "a text, to try it", "nothing was changed")
            _compare("what age made of a text, to try it,", sealed, private, _TRIAL, recipients, "nothing was changed")
        if write:
            files.ensure_private_directory(wish.directory)
        if os.path.lexists(wish.directory) and not os.access(wish.directory, os.W_OK):
            raise EscrowError(
                f"the escrow directory {wish.directory} cannot be written by uid {os.geteuid()} (permissions, or a read-only file "
                "system); nothing was changed; mend that or name another one (escrow.directory)"
            )

    def promise(self, key: MasterKey) -> None:
        """Remember what the key needs before it may be used; before it is on disk itself."""
        remember_wish(self._installation.keyring, self._wish, key)

    def fulfil(self, key: MasterKey) -> bool:
        """Do what is missing. Returns whether anything was.

        Raises:
            EscrowError: what was written does not open to the key; it was removed again.
        """
        wish, mark = self._wish, key.fingerprint
        note = read_note(wish.directory, mark)
        missing = missing_kinds(wish, note)
        if not note:
            note = {"app": self._installation.profile.app, "fingerprint": mark, "threshold": None, "files": []}
            note["created_at"] = written(self._now)
        # What the controller has written anew is noted anew; only it can see that its file was lost.
        doing = [kind for kind in missing if kind != "vault"] + ["vault"] * (self._receipt is not None)
        if "age" in doing:
            _put(note, "age", [self._seal(stem_of(wish.directory, mark) + ".age", _content_of(key), wish.age_recipients, kind="age")])
        if "share" in doing:
            _put(note, "share", self._seal_shares(key))
            note["threshold"] = wish.threshold
        if "vault" in doing:
            _put(note, "vault", [self._receipted(mark)])
        if doing:
            write_note(wish.directory, note)
            left = [kind for kind in missing_kinds(wish, read_note(wish.directory, mark)) if kind in doing]
            if left:
                raise EscrowError(
                    f"the escrow of {mark} in {wish.directory} is not what was just written ({', '.join(left)}); no data was touched; "
                    "does something else write there? run again"
                )
        return bool(doing)

    def facts(self, key: MasterKey | None) -> dict[str, t.Any]:
        """Return what the module returns; C(sealed) is for the action plugin, which knows whether its vault file is there."""
        wish = self._wish
        note = read_note(wish.directory, key.fingerprint) if key is not None else {}
        missing = missing_kinds(wish, note)
        told: dict[str, t.Any] = {
            "directory": wish.directory,
            "fingerprint": key.fingerprint if key is not None else None,
            "note": note_path(wish.directory, key.fingerprint) if key is not None and note else None,
            "files": note.get("files", []),
            "missing": missing,
        }
        if key is not None and wish.vault and self._vault_recipient is not None:
            told["sealed"] = seal_for_controller(
                key, app=self._installation.profile.app, derivation=self._installation.profile.derivation_spec,
                created_at=written(self._now), recipient=self._vault_recipient, entropy=os.urandom,
            )
        return told

    def _seal_shares(self, key: MasterKey) -> list[dict[str, t.Any]]:
        wish, stem = self._wish, stem_of(self._wish.directory, key.fingerprint)
        set_id = os.urandom(4).hex()
        shares = split_key(key, threshold=t.cast(int, wish.threshold), count=len(wish.holders), set_id=set_id)
        entries = []
        for share, holder in zip(shares, wish.holders):
            entry = self._seal(f"{stem}.share-{share.number}.age", share_text(share).encode("ascii"), (holder,), kind="share")
            entries.append(dict(entry, number=share.number, set=set_id))
        return entries

    def _seal(self, path: str, content: bytes, recipients: t.Sequence[str], *, kind: str) -> dict[str, t.Any]:
        """Write C(content) sealed to every recipient; come back when the disk gives it back, and it opens to the same."""
        sealed, private = self._sealed(content, recipients, path, "no data was touched")
        # First in memory: what lies there from before stays, unless its successor is sound.
        _compare(f"what age made for {path}", sealed, private, content, recipients, "no data was touched")
        files.write_private_file(path, sealed)
        try:
            found = read_from_disk(path)
            _compare(f"{path}, read back from its disk and removed again,", found, private, content, recipients, "no data was touched")
        except ServosError:
            files.remove_file(path)
            raise
        return {
            "kind": kind, "name": os.path.basename(path), "recipients": list(recipients), "sha256": hashlib.sha256(found).hexdigest(),
        }

    def _sealed(self, content: bytes, recipients: t.Sequence[str], what: str, so_far: str) -> tuple[bytes, bytes]:
        """Return what age makes of C(content), and the private half of one more recipient, made for this once."""
        private = os.urandom(hpke.KEY_BYTES)
        argv = ["age", "--encrypt", "--armor"]
        for recipient in (*recipients, age_file.recipient_of(hpke.public_key_of(private))):
            argv += ["--recipient", recipient]
        try:
            code, sealed, complaint = self._run(argv, content)
        except OSError:
            raise EscrowError(AGE_MISSING + so_far) from None
        if code:
            raise EscrowError(f"age did not seal {what}: {_said(complaint)}; {so_far}; mend that and run again")
        return sealed, private

    def _receipted(self, mark: str) -> dict[str, t.Any]:
        receipt = dict(self._receipt or {})
        if receipt.get("fingerprint") != mark:
            raise EscrowError(
                f"the vault file holds {receipt.get('fingerprint')} and the key to escrow is {mark}: another run has staged it meanwhile; "
                "no data was touched; run again"
            )
        names = ("path", "host", "vault_id", "sha256")
        return dict({name: receipt.get(name) for name in names}, kind="vault")


def _compare(what: str, found: bytes, private: bytes, content: bytes, recipients: t.Sequence[str], so_far: str) -> None:
    """Open what is sealed with our one-time key, by our own code, and look for every other recipient's stanza."""
    opened = age_file.open_age(private, found)
    if opened is None or not hmac.compare_digest(opened, content):
        verb = "does not open" if opened is None else "opens to something else"
        raise EscrowError(
            f"{what} {verb}; {so_far}; is age on this host the one it should be (command -v age), and the disk sound?"
        )
    kinds = [stanza.words[0] for stanza in age_file.stanzas_of(found) or ()]
    by_ssh = sum(recipient.startswith("ssh-") for recipient in recipients)
    native = sum(age_file.is_native(recipient) for recipient in recipients)
    if (
        len(kinds) < len(recipients) + 1
        or kinds.count("X25519") < native + 1
        or sum(kind.startswith("ssh-") for kind in kinds) < by_ssh
    ):
        raise EscrowError(
            f"{what} is not sealed to all of its {len(recipients)} recipients; {so_far}; is age on this host the one it should be "
            "(command -v age)?"
        )


def escrow_active(escrowing: Escrowing, installation: Installation, *, write: bool) -> dict[str, t.Any]:
    """Put the key in force into escrow, without rotating it."""
    key = installation.env_key()
    escrowing.require_means(write=write)
    changed = escrowing.fulfil(key) if write else bool(escrowing.facts(key)["missing"])
    return {"changed": changed, "escrow": escrowing.facts(key), "env_key": key.fingerprint}


def _put(note: dict[str, t.Any], kind: str, entries: list[dict[str, t.Any]]) -> None:
    others = [entry for entry in note["files"] if entry not in entries_of(note, kind)]
    note["files"] = others + entries


def _content_of(key: MasterKey) -> bytes:
    """The text as it stands in the env file, and nothing else: what is opened can be given as new_key_file as it is."""
    return key.reveal_text().encode("utf-8", "surrogateescape")


def _said(complaint: bytes) -> str:
    """Return the first line of what age said; it names recipients, which are public, and never what it sealed."""
    lines = [line for line in complaint.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[0][:300] if lines else "it did not say why"


__all__ = ("Escrowing", "Runner", "escrow_active")
