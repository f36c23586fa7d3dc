# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From what is seen to what is done, for every state that a cut run can leave."""

from __future__ import annotations

import json

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import InjectionError
from ansible_collections.servos.ops.plugins.module_utils._injection.plan import (
    Container,
    Difference,
    Seen,
    difference_of,
    plan_absent,
    plan_started,
)

LABELS = {
    "servos.ops.injection": "app",
    "servos.ops.options": json.dumps({"user": "d1", "command": "d2"}),
    "servos.ops.secrets": json.dumps({"A": "s1", "B": "s2"}),
}
SAME, OTHER = Difference([], [], []), Difference(["other variables"], [], ["A"])


def one(name="app", status="running", same=True, **fields):
    return Container(name + status, name, status, "image" if same else "another", fields.pop("labels", LABELS), 1, 0, 0)


def plan(current=None, new=None, old=None):
    return plan_started(Seen(current, new, old), lambda container: SAME if container.image_id == "image" else OTHER)


NEW, OLD = one("app.servos-ops-new", "created"), one("app.servos-ops-old", "exited", same=False)


@pytest.mark.parametrize(
    ("seen", "repairs", "action", "drops_old"),
    [
        ({}, [], "created", False),
        ({"current": one()}, [], "unchanged", False),
        ({"current": one(status="exited")}, [], "started", False),
        ({"current": one(status="created")}, ["remove_current"], "created", False),
        ({"current": one(status="initialized")}, ["remove_current"], "created", False),
        ({"current": one(status="paused")}, [], "started", False),
        ({"current": one(same=False)}, [], "replaced", False),
        ({"current": one(status="exited", same=False)}, [], "replaced", False),
        ({"new": NEW}, ["remove_new"], "created", False),
        ({"current": one(), "new": NEW}, ["remove_new"], "unchanged", False),
        ({"current": one(same=False), "new": NEW}, ["remove_new"], "replaced", False),
        ({"new": NEW, "old": OLD}, ["remove_new", "restore_old"], "replaced", False),
        ({"old": OLD}, ["restore_old"], "replaced", False),
        ({"old": one("app.servos-ops-old", "exited")}, ["restore_old"], "started", False),
        ({"current": one(status="created"), "old": OLD}, ["remove_current", "restore_old"], "replaced", False),
        ({"current": one(status="exited"), "old": OLD}, [], "started", True),
        ({"current": one(status="exited", same=False), "old": OLD}, ["remove_current", "restore_old"], "replaced", False),
        ({"current": one(), "old": OLD}, [], "unchanged", True),
        ({"current": one(same=False), "old": OLD}, ["remove_old"], "replaced", False),
        ({"current": one(status="restarting", same=False), "old": OLD}, ["remove_old"], "replaced", False),
        ({"current": one(status="created", same=False), "old": OLD}, ["remove_current", "restore_old"], "replaced", False),
        (
            {"current": one(status="created", same=False), "old": one("app.servos-ops-old", "exited")},
            ["remove_current", "restore_old"], "started", False,
        ),
    ],
    ids=lambda part: None if not isinstance(part, dict) else " ".join(f"{k}:{v.status}:{v.image_id}" for k, v in part.items()) or "nothing",
)
def test_plan(seen, repairs, action, drops_old):
    made = plan(**seen)
    assert (made.repairs, made.action, made.drops_old) == (repairs, action, drops_old)


@pytest.mark.parametrize("which", ["current", "new", "old"])
@pytest.mark.parametrize("labels", [{}, {"servos.ops.injection": "other"}], ids=["no label", "another name's"])
def test_strangers_are_refused(which, labels):
    stranger = one("app.x", labels=labels)
    with pytest.raises(InjectionError, match=r"there is a container app\.x that was not made by"):
        Seen(**dict({"current": None, "new": None, "old": None}, **{which: stranger})).refuse_strangers("app")


def test_what_is_ours_is_not():
    Seen(one(), NEW, OLD).refuse_strangers("app")


@pytest.mark.parametrize("which", ["current", "new", "old"])
def test_absent_removes_whatever_is_there(which):
    assert plan_absent(Seen(**dict({"current": None, "new": None, "old": None}, **{which: one()}))).action == "removed"
    assert plan_absent(Seen(None, None, None)).action == "absent"


OPTIONS, SECRETS = {"user": "d1", "command": "d2"}, {"A": "s1", "B": "s2"}


@pytest.mark.parametrize(
    ("given", "reasons", "options", "variables"),
    [
        ({}, [], [], []),
        ({"image_id": "x"}, ["another image"], [], []),
        ({"image_id": None}, ["another image"], [], []),
        ({"options": {"user": "d9", "command": "d2"}}, ["other options"], ["user"], []),
        ({"options": {"command": "d2", "init": "d3"}}, ["other options"], ["init", "user"], []),
        ({"secrets": {"A": "s1"}}, ["other variables"], [], ["B"]),
        ({"secrets": {"A": "s2", "B": "s1"}}, ["other variables"], [], ["A", "B"]),
        ({"has_files": False}, ["its mounted secrets are gone"], [], []),
    ],
    ids=["same", "image", "image to pull", "option", "option gone and new", "variable gone", "values swapped", "files"],
)
def test_difference(given, reasons, options, variables):
    wanted = dict({"image_id": "image", "options": OPTIONS, "secrets": SECRETS, "has_files": True}, **given)
    assert difference_of(one(), **wanted) == Difference(reasons, options, variables)


@pytest.mark.parametrize("label", [None, "", "no JSON", "[]", "3"])
def test_a_label_that_cannot_be_read_counts_as_a_change_of_everything(label):
    labels = {} if label is None else {"servos.ops.options": label, "servos.ops.secrets": label}
    found = difference_of(one(labels=labels), image_id="image", options=OPTIONS, secrets=SECRETS, has_files=True)
    assert (found.options, found.variables) == (["command", "user"], ["A", "B"])
