# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The use case: a container runs with these secrets, or there is none of its name.

Everything is looked up anew, in the engine and on the disk; nothing is remembered between runs but the host's own
digest key.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._errors import EngineError, InjectionError, ServosError
from .._system.ephemeral import EphemeralFolder, require_private
from .._system.files import remove_if_only
from .._system.locks import exclusive_lock
from .engine import Engine
from .mounted import folder_path, holds_files, require_memory, sweep_mounts
from .node_key import make_node_key, read_node_key
from .plan import Container, Difference, Plan, Seen, difference_of, plan_absent, plan_started
from .replace import Change
from .residue import residue_of
from .variables import split_by_way
from .wanted import LABEL_NAME, NEW, OLD, Wanted


def inject(wanted: Wanted, engine: Engine, *, write: bool) -> dict[str, t.Any]:
    """Bring a container to the state that its options ask for.

    Effects: without C(write) none; nothing is pulled, swept or made.

    Raises:
        EngineError: the engine is absent, does not answer, or refused.
        InjectionError: a stranger's container, a value that cannot be delivered, a container that does not stay up.
        FileError: a directory is not as it must be, or a file cannot be written.
        HeldLockError: another run is at work on this container.
    """
    secrets_dir = wanted.params["secrets_dir"]
    is_new = not require_private(secrets_dir)
    if wanted.is_mounted and wanted.params["state"] == "started":
        require_memory(wanted.params["mount_dir"])
    work = _bring_up if wanted.params["state"] == "started" else _take_away
    if not write:
        engine.require()
        with contextlib.ExitStack() as stack:
            seen_folder = None if is_new else stack.enter_context(EphemeralFolder(secrets_dir, write=False))
            return work(wanted, engine, seen_folder, [] if seen_folder is None else seen_folder.leftovers(), write=False)
    with EphemeralFolder(secrets_dir) as folder:
        removed = folder.sweep_files()  # before the engine is asked for anything: it may be down
        engine.require()
        lock_path = os.path.join(folder.path, f"{engine.command}-{wanted.name}.lock")
        purpose = f"servos_secret_inject state={wanted.params['state']}"
        try:
            with exclusive_lock(lock_path, purpose=purpose, what=f"the container {wanted.name}"):
                engine.wait_for_orphans()
                return work(wanted, engine, folder, removed, write=True)
        finally:
            if is_new:
                remove_if_only(folder.path, lock_path)


def sweep_after_death(secrets_dir: str) -> None:
    """Remove what a run has left that died without a word; what cannot be removed now, the next run removes."""
    with contextlib.suppress(ServosError):
        if require_private(secrets_dir):
            with EphemeralFolder(secrets_dir) as folder:
                folder.sweep_files()


def _bring_up(
    wanted: Wanted, engine: Engine, folder: EphemeralFolder | None, removed: list[str], *, write: bool
) -> dict[str, t.Any]:
    by_file, by_environment = split_by_way(wanted.environment, is_verbatim=engine.is_verbatim)
    seen = _seen(wanted, engine)
    _refuse_marked_image(wanted, engine)
    removed = removed + (_swept_mounts(wanted, engine, seen) if write else [])
    image_id = _image(wanted, engine, write=write)
    digests = wanted.digests(_node_key(folder, write=write))

    def differs(container: Container) -> Difference:
        return difference_of(
            container, image_id=image_id, options=digests[0], secrets=digests[1], has_files=_has_files(wanted, container)
        )

    plan = plan_started(seen, differs)
    result = _told(wanted, plan, removed, seen)
    result["passed_by_environment"] = sorted(by_environment)
    container: Container | None = seen.current or seen.old
    change = None
    if write and folder is not None:
        change = Change(wanted, engine, folder, by_file=by_file, by_environment=by_environment, digests=digests)
        try:
            container = _carried_out(plan, change, seen)
        except ServosError:
            with contextlib.suppress(ServosError):  # the first error is the one to tell
                _swept_mounts(wanted, engine, seen)
            raise
        if plan.action == "replaced" or plan.drops_old or plan.repairs:
            _swept_mounts(wanted, engine, seen)  # those of the container that is gone
        image_id = container.image_id
        result["env_file"], result["timings"] = change.env_file, change.timings
    if container is not None and (write or not result["changed"]):
        result["container_id"] = container.container_id
        result["residue"] = residue_of(
            engine, container, wanted, env_file=(result["env_file"] or {}).get("path"), secrets_dir=wanted.params["secrets_dir"],
            mounted=container.mount_path,
        )
    result["image_id"] = image_id
    result["_after"] = {
        "container": container.status if write and container is not None else "running",
        "image": image_id or f"{wanted.image}, to be pulled", "variables": sorted([*wanted.variables, *wanted.public]),
        "changed_options": plan.difference.options, "changed_variables": plan.difference.variables,
    }
    return result


def _carried_out(plan: Plan, change: Change, seen: Seen) -> Container:
    current = change.repair(plan.repairs, seen)
    if plan.action in ("created", "replaced"):
        return change.bring_up(change.create(current), current, is_new=True)
    if current is None:
        raise EngineError("the container was removed by somebody else meanwhile; run again")
    old = seen.old if plan.drops_old else None
    if plan.action == "started" or old is not None:
        return change.bring_up(current, old, is_new=False)
    return current


def _take_away(
    wanted: Wanted, engine: Engine, unused_folder: EphemeralFolder | None, removed: list[str], *, write: bool
) -> dict[str, t.Any]:
    seen = _seen(wanted, engine)
    removed = removed + (_swept_mounts(wanted, engine, seen) if write else [])
    plan = plan_absent(seen)
    result = _told(wanted, plan, removed, seen)
    if write and plan.action == "removed":
        for container in (seen.new, seen.current, seen.old):
            if container is not None:
                if container.is_active:
                    engine.stop(container)
                engine.remove(container.container_id)
        _swept_mounts(wanted, engine, seen)
    result["_after"] = {"container": "absent"}
    return result


def _told(wanted: Wanted, plan: Plan, removed: list[str], seen: Seen) -> dict[str, t.Any]:
    """Begin a result with what is known from looking; both modes return the same keys."""
    current = seen.current or seen.old
    return {
        "changed": bool(plan.action not in ("unchanged", "absent") or plan.repairs or plan.drops_old or removed),
        "container": wanted.name, "action": plan.action, "reasons": plan.difference.reasons,
        "changed_options": plan.difference.options, "changed_variables": plan.difference.variables,
        "removed_leftovers": removed, "passed_by_environment": [], "env_file": None, "timings": {},
        "container_id": None, "image_id": None, "residue": None,
        "_before": {"container": "absent"} if current is None else {"container": current.status, "image": current.image_id},
    }


def _seen(wanted: Wanted, engine: Engine) -> Seen:
    names = [wanted.name, wanted.name + NEW, wanted.name + OLD]
    found = engine.find(names)
    seen = Seen(*(found.get(name) for name in names))
    # What was made of an image of ours, by hand, has our labels and is a stranger's all the same.
    inherited = [container.name for container in seen if container is not None and LABEL_NAME in engine.labels_of_image(container.image_id)]
    seen.refuse_strangers(wanted.name, inherited)
    return seen


def _refuse_marked_image(wanted: Wanted, engine: Engine) -> None:
    if LABEL_NAME in engine.labels_of_image(wanted.image):
        raise InjectionError(
            f"the image {wanted.image} was made from a container of this module and holds its secrets and labels; nothing was changed; "
            "use the image that it came from"
        )


def _image(wanted: Wanted, engine: Engine, *, write: bool) -> str | None:
    """Return the image's id; the image is on the host before any secret is written. None is for check mode only."""
    pull = wanted.params["pull"]
    image_id = engine.image_id(wanted.image)
    if pull == "never" and image_id is None:
        raise EngineError(
            f"the image {wanted.image} is not on this host, and pull=never; nothing was changed; correct image, or bring it here"
        )
    if write and (pull == "always" or image_id is None):
        engine.pull(wanted.image)
        image_id = engine.image_id(wanted.image)
        if image_id is None:
            raise EngineError(f"{engine.command} has pulled {wanted.image} and does not know it; nothing was changed; name it in full")
    return image_id


def _node_key(folder: EphemeralFolder | None, *, write: bool) -> bytes:
    """Return the digest key; in check mode, where there is none yet, one that fits nothing."""
    if write and folder is not None:
        return make_node_key(folder)
    return (read_node_key(folder) if folder is not None else None) or os.urandom(32)


def _swept_mounts(wanted: Wanted, engine: Engine, seen: Seen) -> list[str]:
    """Sweep where mounted secrets would lie now, and where those of the containers that were seen do."""
    folders = {folder_path(wanted.params["mount_dir"], engine.instance)}
    folders.update(os.path.dirname(container.mount_path) for container in seen if container is not None and container.mount_path)
    return [path for folder in sorted(folders) for path in sweep_mounts(folder, engine.mount_paths)]


def _has_files(wanted: Wanted, container: Container) -> bool:
    return not wanted.is_mounted or (container.mount_path is not None and holds_files(container.mount_path, wanted))


__all__ = ("inject", "sweep_after_death")
