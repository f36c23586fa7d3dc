# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Look at the containers of this host, and at what injections into them have left. Changes nothing."""

from __future__ import annotations

import os
import typing as t

from .._errors import EngineError
from .._injection.engine import ENGINES, Engine, Runner
from .._system.ephemeral import EphemeralFolder, require_private
from .findings import Ledger
from .inspected import judge_container

_MOST_NAMED = 5


def judge_containers(
    ledger: Ledger, run: Runner, names: t.Iterable[str], *, keys: t.Mapping[str, t.Sequence[bytes]], timeout_s: float
) -> None:
    """Enter what each engine shows of each container, running or not. An engine that is not there has nothing to show."""
    for name in names:
        engine = ENGINES[name](run, name="audit", timeout_s=timeout_s, pull_timeout_s=timeout_s)
        if not engine.is_installed():
            ledger.skipped("secret_in_inspect", name, "there is no such engine on this host")
            continue
        try:
            engine.require()
        except EngineError as error:  # who cannot be asked shows nobody anything; what it keeps on its disk is root's
            ledger.skipped("secret_in_inspect", name, str(error))
            continue
        _judge(ledger, engine, keys)


def _judge(ledger: Ledger, engine: Engine, keys: t.Mapping[str, t.Sequence[bytes]]) -> None:
    images: dict[str, list[str]] = {}
    ids = engine.container_ids()
    if not ids:
        ledger.passed("secret_in_inspect", engine.command)
    for container_id in ids:
        shown = engine.inspect(container_id)
        if shown is None:  # it has gone meanwhile
            continue
        image = str(shown.get("Image", ""))
        if image not in images:
            images[image] = engine.environment_of_image(image)
        where = f"{engine.command} container {str(shown.get('Name', '')).lstrip('/')}"
        judge_container(ledger, where, shown, image_environment=images[image], keys=keys)


def judge_secrets_dir(ledger: Ledger, path: str) -> None:
    """Enter the short-lived env files whose maker has died."""
    if not os.path.lexists(path):
        ledger.skipped("leftover_file", path, "there is none: nothing was injected here")
        return
    require_private(path)
    with EphemeralFolder(path, write=False) as folder:
        left = folder.leftovers()
    shown = ", ".join(os.path.basename(one) for one in left[:_MOST_NAMED])
    text = f"{len(left)} env files with secrets of injections that were killed: {shown}" if left else None
    ledger.held("leftover_file", path, text, severity="high")


__all__ = ("judge_containers", "judge_secrets_dir")
