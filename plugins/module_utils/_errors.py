# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Every error that the collection raises on purpose.

ServosError                 a message that names the thing, the reason and the next step; never key bytes
├── KeyFormatError          a text is not a master key
├── KeyMissingError         a key that a step needs is nowhere to be found
├── EnvFileError            the env file cannot be read, is ambiguous, or cannot be written
├── ProfileError            the description of the application is wrong
├── StoreError              the database cannot be used
│   ├── StoreBusyError      ... because somebody else holds its lock
│   ├── StoreChangedError   it was opened by another process while it was read as a file at rest
│   ├── StoreLostError      the server let go of us before anything was committed
│   └── UnknownCommitError  the commit was sent, and whether it happened cannot be seen now
├── ForeignValueError       a value opens under no known key
├── UndeclaredFieldError    a sealed column that the profile does not name
├── ServiceError            the service cannot be found, stopped, started, or does not come up
├── ApiError                the application refused, and nothing was changed
│   └── UnknownOutcomeError the application may or may not have rotated: observe
│       └── NoAnswerYetError ... and may still be at work
├── HeldLockError           another run holds the lock
├── FileError               a file of ours cannot be written, read or made durable
├── EngineError             the container engine cannot be used, or refused
├── EscrowError             the key is not in escrow as it was asked to be; no data was touched
├── InjectionError          a container, or what is to be injected into it, is not as it must be
├── AgentError              an agent, or its unit, is not as it must be, or cannot be looked at
└── HostKeyError            a host's key is not the pinned one, or cannot be learned
    └── PinStoreError       the file of pins cannot be used

A class exists only where a caller reacts differently.
"""

from __future__ import annotations

import typing as t


class ServosError(Exception):
    """Say what failed, on which named thing, and what to do next.

    The text is shown to users and kept in logs, so it never contains key bytes, plaintext or a raw input line. C(facts)
    are returned beside it; what they hold is as public.
    """

    def __init__(self, text: str, **facts: t.Any) -> None:
        super().__init__(text)
        self.facts = facts


class KeyFormatError(ServosError):
    """A text is not a master key."""


class KeyMissingError(ServosError):
    """A key that the next step needs is in no place that was looked at."""


class EnvFileError(ServosError):
    """The env file cannot be read, is ambiguous, or cannot be written."""


class ProfileError(ServosError):
    """The profile names something that cannot be."""


class StoreError(ServosError):
    """The database cannot be used as the options describe it."""


class StoreBusyError(StoreError):
    """The database stayed locked by another connection for the whole timeout."""


class StoreChangedError(StoreError):
    """The database was opened by another process while it was read as a file at rest; look again."""


class StoreLostError(StoreError):
    """The connection to a database's server broke, or the server ended it, before anything was committed."""


class UnknownCommitError(StoreError):
    """All was sent and the commit too, and whether it happened cannot be seen now: observe."""


class ForeignValueError(ServosError):
    """A value in a sealed field opens under no key that is known here."""


class UndeclaredFieldError(ServosError):
    """A column outside the profile holds values that open under a known key."""


class ServiceError(ServosError):
    """The service is absent, does not stop, or does not come up."""


class ApiError(ServosError):
    """The application answered that it did not rotate."""


class UnknownOutcomeError(ApiError):
    """No answer that settles whether the application has rotated."""


class NoAnswerYetError(UnknownOutcomeError):
    """No answer came in time; the application may still be at work."""


class HeldLockError(ServosError):
    """Another run of the collection is at work on this installation."""


class FileError(ServosError):
    """A private file could not be written, read or made durable."""


class EngineError(ServosError):
    """The container engine is absent, not running, or refused what it was asked."""


class EscrowError(ServosError):
    """The key could not be put into escrow as asked, or is not there any more; no data was touched."""


class InjectionError(ServosError):
    """A container, its secrets or their directory are not as they must be; nothing was started."""


class AgentError(ServosError):
    """An agent on a node, or its unit, cannot be hardened, or cannot be looked at."""


class HostKeyError(ServosError):
    """A host showed another key than the pinned one, or none."""


class PinStoreError(HostKeyError):
    """The file of pins cannot be read, understood, locked or written."""


__all__ = (
    "AgentError",
    "ApiError",
    "EngineError",
    "EnvFileError",
    "EscrowError",
    "FileError",
    "ForeignValueError",
    "HeldLockError",
    "HostKeyError",
    "InjectionError",
    "KeyFormatError",
    "KeyMissingError",
    "NoAnswerYetError",
    "PinStoreError",
    "ProfileError",
    "ServiceError",
    "ServosError",
    "StoreBusyError",
    "StoreChangedError",
    "StoreError",
    "StoreLostError",
    "UndeclaredFieldError",
    "UnknownCommitError",
    "UnknownOutcomeError",
)
