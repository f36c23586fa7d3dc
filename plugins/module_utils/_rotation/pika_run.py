# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""One run against a Pika: its login, what it did and saw, and the oracle that tells which key is on the server's disk."""

from __future__ import annotations

import contextlib
import datetime
import typing as t

from .._apps.pika_facts import Cluster, cluster_of, require_leader
from .._apps.pika_key import KeyStatus, key_status, lock, unlock
from .._apps.pika_session import Pika
from .._errors import ApiError, UnknownOutcomeError
from .._keys.material import MasterKey
from .pika_custody import PikaCustody, doubts


class PikaLogin(t.NamedTuple):
    """Who we are to the server: an account with its password, or an API token."""

    username: str | None
    password: str | None
    strategy: str | None
    token: str | None

    def __repr__(self) -> str:
        return f"<PikaLogin {self.username or 'token'}>"


class PikaRun:
    """What one run works with, and what it tells of itself. C(write) is False in check mode."""

    def __init__(self, pika: Pika, login: PikaLogin | None, custody: PikaCustody, *, write: bool, now: datetime.datetime) -> None:
        self.pika, self.custody, self.write, self.now = pika, custody, write, now
        self._login = login
        self.steps: list[str] = []
        self.warnings: list[str] = []

    @property
    def has_login(self) -> bool:
        """Whether we can be somebody to the server."""
        return self._login is not None

    def did(self, step: str) -> None:
        """Note a step that changed something (in check mode: would)."""
        self.steps.append(step)

    def status(self) -> KeyStatus:
        """Ask for the server's status."""
        return key_status(self.pika)

    def doubt(self, keys: t.Iterable[MasterKey | None]) -> None:
        """Warn of keys that are lawful but odd."""
        for key in {key for key in keys if key is not None}:
            self.warnings += doubts(key)

    @contextlib.contextmanager
    def session(self, *, as_manager: bool = True) -> t.Iterator[dict[str, t.Any]]:
        """Be somebody for the length of a with block, who may work on the key; yield what the server says of us.

        Logs out at its end, whatever that is.
        """
        if self._login is None:
            raise ApiError(
                f"{self.pika.url} has to be asked by an account that may manage it; nothing was changed; give username and password_file"
            )
        if self._login.token is not None:
            self.pika.use_token(self._login.token)
        else:
            self.pika.log_in(
                username=self._login.username or "", password=self._login.password or "", strategy=self._login.strategy
            )
        try:
            yield self.pika.require_manager() if as_manager else self.pika.info()
        finally:
            complaint = self.pika.log_out()
            if complaint:
                self.warnings.append(complaint)

    def require_leader(self) -> Cluster | None:
        """Refuse a follower and a cluster without quorum; return its place, or None where it does not say so now."""
        cluster = cluster_of(self.pika)
        if cluster is not None:
            require_leader(self.pika, cluster)
        return cluster

    def result(self, **facts: t.Any) -> dict[str, t.Any]:
        """Return what every state returns, and C(facts)."""
        return dict({"changed": bool(self.steps), "steps": self.steps, "_warnings": list(dict.fromkeys(self.warnings))}, **facts)


def key_on_disk(run: PikaRun, candidates: t.Sequence[MasterKey]) -> MasterKey:
    """Find out which key the server's disk is under, and leave the server unlocked with it.

    An unlock opens the verifier on disk or changes nothing, so it tells, and it puts memory right. A server that cannot read its own
    secrets, since it has another key in memory than on disk, is locked first: then it reads them without opening them.

    Args:
        candidates: at most two, the likelier one first: each wrong one counts with the server's limiter.

    Raises:
        ApiError: none of them; the server is as locked as it was found, or as it had to be.
    """
    has_locked = False
    if not run.status().is_readable:
        lock(run.pika)
        has_locked = True
    for key in candidates:
        try:
            is_right = unlock(run.pika, key.reveal_text())
        except UnknownOutcomeError as error:
            if has_locked or error.facts.get("pika_answer") != "unreadable":
                raise
            lock(run.pika)
            has_locked = True
            is_right = unlock(run.pika, key.reveal_text())
        if is_right:
            if has_locked:
                run.warnings.append(
                    "the server had another key in memory than on its disk; it was locked for a moment, and unlocked with "
                    f"{key.fingerprint}"
                )
            return key
    tried = " nor ".join(key.fingerprint for key in candidates)
    state = "it is locked now" if has_locked else "nothing was changed"
    raise ApiError(
        f"{'neither ' if len(candidates) > 1 else ''}{tried} {'opens' if len(candidates) > 1 else 'does not open'} the server at "
        f"{run.pika.url}; {state}; find the key of its time (docs/pika.md, a key that nobody has), and do not try keys at random: "
        "each wrong one counts",
        pika_answer="wrong_key",
    )


__all__ = ("PikaLogin", "PikaRun", "key_on_disk")
