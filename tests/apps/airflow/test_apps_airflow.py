# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real Airflow writes its secrets; after our rotation its own code reads every one back, and under the old key none."""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow_site import Airflow, new_key

# What inside.py writes: 5 variables, password and extra of a connection, a password, a trigger, password and extra of a test.
SEALED = 11


def lost(values: dict[str, Any]) -> set[str]:
    """Name what does not open: Airflow gives none for a variable, and an error for all else."""
    return {name for name, value in values.items() if value is None or (isinstance(value, str) and value.startswith("!"))}


def empty_ones(values: dict[str, Any]) -> set[str]:
    """Name what was never set: it is none under every key."""
    return {name for name, value in values.items() if value is None}


@pytest.mark.parametrize("in_cfg", [False, True], ids=["env-file", "airflow.cfg"])
def test_airflow_reads_everything_back(make_airflow: Callable[..., Airflow], in_cfg: bool) -> None:
    old = new_key()
    site = make_airflow(old, in_cfg=in_cfg)
    site.inside("write", "one")
    before = site.read()
    assert len(before) - len(empty_ones(before)) == SEALED
    untouched = site.cfg.read_text() if in_cfg else site.env_file.read_text()
    text = site.play("rotate", "-e", "servos_rotation_id=one")
    assert f"Rewrapped {SEALED} values" in text
    new = site.configured()
    assert new != old
    assert (site.cfg if in_cfg else site.env_file).read_text() == untouched.replace(old, new)
    assert site.read() == before
    assert lost(site.read(keys=old)) == set(before)  # the real code fails under the old key
    assert "changed=0" in site.play("rotate", "-e", "servos_rotation_id=one")
    site.play("retire")
    assert site.read() == before
    if in_cfg:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(site.cfg)
        assert parser["core"]["fernet_key"] == new


@pytest.mark.parametrize("in_cfg", [False, True], ids=["env-file", "airflow.cfg"])
def test_a_list_of_two_keys_with_values_under_both(make_airflow: Callable[..., Airflow], in_cfg: bool) -> None:
    first, second = new_key(), new_key()
    site = make_airflow(f"{first},{second}", in_cfg=in_cfg)
    # Airflow's own second key wrote these, before the first was put before it.
    site.inside("write", "two", keys=second)
    site.inside("write", "one", keys=first)
    before = site.read()
    assert len(before) - len(empty_ones(before)) == 2 * SEALED
    assert len(lost(site.read(keys=first))) > SEALED
    assert f"Rewrapped {2 * SEALED} values" in site.play("rotate", "-e", "servos_rotation_id=one")
    new = site.configured()
    assert "," not in new
    assert site.read() == before
    assert lost(site.read(keys=f"{first},{second}")) == set(before)
    site.play("rollback")
    assert site.configured() == f"{first},{second}"
    assert site.read(keys=first) == before
    assert lost(site.read(keys=second)) == set(before)


def test_the_api_server_is_restarted_and_reads_back(make_airflow: Callable[..., Airflow]) -> None:
    old = new_key()
    site = make_airflow(old)
    site.inside("write", "one")
    before = site.read()
    site.start()
    old_pid = site.pid()
    # It overwrites its environment to show a title, so its key cannot be seen there.
    assert old.encode() not in Path(f"/proc/{old_pid}/environ").read_bytes()
    text = site.play("rotate", "-e", "servos_rotation_id=one", **site.service())
    assert f"Rewrapped {SEALED} values" in text
    assert site.pid() != old_pid
    assert '"value":"one plain words"' in site.get("/api/v2/variables/one_variable_0", site.token())[1]
    assert site.read() == before
    with pytest.raises(OSError, match="No such process"):
        os.kill(old_pid, 0)
    site.play("retire", **site.service())


def test_the_official_rotation_does_the_same_on_the_same_rows(make_airflow: Callable[..., Airflow]) -> None:
    """What Airflow's own command rewrites is what the profile names: nothing more is under the old key afterwards, and nothing less."""
    old, new = new_key(), new_key()
    site = make_airflow(old)
    site.inside("write", "one")
    before = site.read()
    site.inside("rotate", keys=f"{new},{old}")
    site.env_file.write_text(site.env_file.read_text().replace(old, f"{new},{old}"))
    text = site.play("rotate")
    assert "Rewrapped 0 values" in text, "Airflow's command left values under the old key, or rewrote others"
    assert site.read(keys=new) == before
