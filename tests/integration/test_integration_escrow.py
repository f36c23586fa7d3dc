# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A key is in escrow before any data is under it; its holders open it with the plain tools."""

from __future__ import annotations

import json

from escrows import combine, directory_of, escrow_of, new_holder, new_ssh_holder
from installations import NEW, OLD, Servos, b64, fingerprint


def test_every_recipient_opens_the_staged_key_alone(quiet: Servos) -> None:
    ann, bob = new_holder(quiet.scratch, "ann"), new_ssh_holder(quiet.scratch, "bob")
    new_key = quiet.key_file("new", b64(NEW))
    done = quiet.stage(new_key_file=str(new_key), escrow=escrow_of(quiet, age_recipients=[ann.recipient, bob.recipient]))

    assert done.changed and done["rotation_pending"]
    assert done["escrow"]["missing"] == []
    sealed = directory_of(quiet) / f"escrow-{fingerprint(NEW)[3:]}.age"
    assert ann.open(sealed) == bob.open(sealed) == b64(NEW)
    assert new_holder(quiet.scratch, "eve").cannot_open(sealed)
    assert oct(directory_of(quiet).stat().st_mode)[-3:] == "700"
    assert {oct(path.stat().st_mode)[-3:] for path in directory_of(quiet).iterdir()} == {"600"}
    quiet.assert_all_under(b64(OLD))

    again = quiet.stage(rotation_id="one", escrow=escrow_of(quiet, age_recipients=[ann.recipient, bob.recipient]))
    assert not again.changed and again["rotation_pending"]
    assert quiet.rotate()["phase"] == "activated"
    assert quiet.retire().changed
    assert ann.open(sealed) == b64(NEW)


def test_so_many_shares_open_the_key_and_no_holder_another_ones(quiet: Servos) -> None:
    holders = [new_holder(quiet.scratch, name) for name in ("ann", "bob", "cy", "di")]
    shares = {"threshold": 3, "recipients": [holder.recipient for holder in holders]}
    done = quiet.stage(new_key_file=str(quiet.key_file("new", b64(NEW))), escrow=escrow_of(quiet, shares=shares))

    assert done["escrow"]["missing"] == []
    paths = [directory_of(quiet) / f"escrow-{fingerprint(NEW)[3:]}.share-{number}.age" for number in (1, 2, 3, 4)]
    texts = [holder.open(path) for holder, path in zip(holders, paths, strict=True)]
    assert {combine(texts[:3], 3), combine(texts[1:], 3)} == {NEW.hex()}
    assert combine(texts[:2], 2) != NEW.hex()
    assert all(holders[0].cannot_open(path) for path in paths[1:])
    note = json.loads((directory_of(quiet) / f"escrow-{fingerprint(NEW)[3:]}.json").read_text())
    assert (note["threshold"], len(note["files"]), note["fingerprint"]) == (3, 4, fingerprint(NEW))
