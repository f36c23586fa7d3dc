# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook hostkeys: no connection of Ansible's own gets past the pins, however it is asked for or was opened before."""

from __future__ import annotations

import shutil

import pytest
from hostkey_sites import AFTERWARDS, Played, Site, keys_of, play_with_swap, swap_here
from sshds import public_keys


def test_an_impostor_that_comes_after_the_pins_is_refused_by_the_next_connection(site: Site) -> None:
    """It takes the address between two plays of one run, so that only Ansible's own connection can notice."""
    then = [site.start(site.impostor, "impostor", "one"), site.start(site.genuine, "genuine", "two")]
    done = play_with_swap(site, site.start(site.genuine, "genuine"), *then, plays=[swap_here(site), AFTERWARDS])
    assert done.answered_by == ["genuine"]
    assert (done.stats["one"]["unreachable"], done.stats["two"]["unreachable"]) == (1, 0)
    assert "Host key verification failed" in done.text


def test_a_connection_that_was_opened_without_the_pins_is_not_used_any_more(site: Site) -> None:
    """An impostor is talked to before the pins are looked at, and goes away; what it left open leads to it still."""
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    genuine, impostor = site.start(site.genuine, "genuine"), site.start(site.impostor, "impostor")
    done = play_with_swap(site, impostor, genuine, before=[AFTERWARDS, swap_here(site)])
    assert done.code == 0, done.text
    assert done.answered_by == ["genuine", "genuine", "impostor", "impostor"], done.text


KEPT = "-o ControlMaster=auto -o ControlPersist=20s"


@pytest.mark.parametrize("way", ["another user", "ssh's own configuration", "ControlPath", "long directory"])
def test_a_connection_that_was_kept_open_in_any_way_is_not_used_any_more(site: Site, way: str) -> None:
    """An impostor is talked to before, and goes away; what it left open would lead to it still."""
    site.has_control = False
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    own = site.folder / "ssh_config"
    own.write_text(f"Host *\n ControlMaster auto\n ControlPath {site.sockets}/own-%C\n ControlPersist 20\n StrictHostKeyChecking no\n")
    arguments = {
        "another user": f"-C {KEPT}",
        "long directory": f"-C {KEPT}",
        "ssh's own configuration": f"-C -F {own}",
        "ControlPath": f"-C {KEPT} -o ControlPath={site.sockets}/own-%C",
    }[way]
    (site.folder / "ansible.cfg").write_text(f"[defaults]\nhost_key_checking = False\n[ssh_connection]\nssh_args = {arguments}\n")
    if way == "long directory":
        site.control_path_dir = site.sockets / ("d" * 50)
    talk = AFTERWARDS | {"vars": {"ansible_user": site.user}}
    site.user = "nobody"
    genuine, impostor = site.start(site.genuine, "genuine"), site.start(site.impostor, "impostor")
    done = play_with_swap(site, impostor, genuine, before=[talk, swap_here(site)], plays=[talk])
    assert done.code == 0, done.text
    assert done.answered_by == ["genuine", "genuine", "impostor", "impostor"], done.text


@pytest.mark.parametrize("option", ["KnownHostsCommand={} %H", "NoHostAuthenticationForLocalhost=yes"], ids=["command", "localhost"])
def test_no_option_of_ssh_takes_the_pins_out(site: Site, option: str) -> None:
    site.has_control = False
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    helper = site.folder / "helper"
    helper.write_text("#!/bin/sh\n" + "".join(f'echo "$1 {key}"\n' for key in public_keys(site.impostor).values()))
    helper.chmod(0o755)
    (site.folder / "ansible.cfg").write_text(f'[ssh_connection]\nssh_args = -C\nssh_common_args = -o "{option.format(helper)}"\n')
    genuine, impostor = site.start(site.genuine, "genuine"), site.start(site.impostor, "impostor")
    done = play_with_swap(site, genuine, impostor, plays=[swap_here(site), AFTERWARDS])
    assert done.answered_by == []
    assert done.text.count("Host key verification failed") >= 2


def test_an_ssh_that_does_not_know_that_command_connects(site: Site) -> None:
    """As OpenSSH before 8.5 answers it."""
    site.has_control = False
    older = site.folder / "bin" / "ssh"
    older.parent.mkdir()
    real = shutil.which("ssh")
    older.write_text(
        '#!/bin/sh\ncase "$*" in *KnownHostsCommand*)\n'
        'echo "command-line: line 0: Bad configuration option: knownhostscommand" >&2; exit 255;;\n'
        f'esac\nexec {real} "$@"\n'
    )
    older.chmod(0o755)
    with (site.folder / "ansible.cfg").open("a") as config:
        config.write(f"ssh_executable = {older}\n")
    with site.start(site.genuine, "genuine"):
        done = site.play()
    assert done.code == 0, done.text
    assert done.answered_by == ["genuine", "genuine"]


def test_arguments_on_the_command_line_that_overrule_the_pins_are_refused(site: Site) -> None:
    with site.start(site.genuine, "genuine"):
        done = site.play("-e", "ansible_ssh_args=-C")
    assert done.code != 0
    assert done.answered_by == []
    assert "overrules the pins" in done.text


def test_without_control_hosts_and_with_arguments_of_its_own(site: Site) -> None:
    site.has_control = False
    site.variables = {"ansible_ssh_args": "-o LogLevel=ERROR -o ControlMaster=no", "servos_known_hosts": str(site.folder / "own pins/kh")}
    with site.start(site.genuine, "genuine"):
        done = site.play(plays=[AFTERWARDS, {"hosts": "servos_nodes", "gather_facts": False, "tasks": [
            {"ansible.builtin.debug": {"var": "ansible_ssh_args"}}]}])  # fmt: skip
    assert done.code == 0, done.text
    assert done.answered_by == ["genuine", "genuine"]
    assert "ControlMaster=no" in done.text
    assert keys_of(site.folder / "own pins" / "kh") == set(public_keys(site.genuine).values())
    assert not site.control_pins.exists()


LATER = [
    {"hosts": "two", "gather_facts": False, "tasks": [{"ansible.builtin.raw": "echo here=$WHO", "delegate_to": "one", "check_mode": False,
                                                       "ignore_unreachable": True}]},
    {"hosts": "servos_nodes", "gather_facts": False, "tasks": [{"ansible.builtin.meta": "clear_host_errors"}]},
    AFTERWARDS,
]  # fmt: skip


def refused(site: Site, *argv: str) -> Played:
    """Pin both, then let an impostor stand in for the first one."""
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    with site.start(site.genuine, "genuine", "two"), site.start(site.impostor, "impostor", "one"):
        return site.play(*argv, plays=LATER)


@pytest.mark.parametrize("argv", [(), ("--check",)], ids=["run", "check mode"])
def test_a_refused_host_is_held_to_its_pin_by_whoever_still_talks_to_it(site: Site, argv: tuple[str, ...]) -> None:
    """A task of another host that is delegated to it, and a play that clears its error."""
    site.has_control = False
    done = refused(site, *argv)
    assert done.stats["one"]["failed"] == 1
    assert done.answered_by == ["genuine"]
    assert done.text.count("Host key verification failed") >= 2
    assert f"127.0.22.1 port {site.port}: " in done.text


@pytest.mark.parametrize("is_pinned", [True, False], ids=["pinned", "never pinned"])
def test_a_host_that_is_left_out_by_limit_is_held_to_its_pin(site: Site, is_pinned: bool) -> None:
    site.has_control = False
    if is_pinned:
        with site.start(site.genuine, "genuine"):
            assert site.play(plays=[]).code == 0
    with site.start(site.genuine, "genuine", "two"), site.start(site.impostor, "impostor", "one"):
        done = site.play("--limit", "two", plays=[LATER[0], AFTERWARDS])
    assert done.answered_by == ["genuine"]
    assert "Host key verification failed" in done.text
    assert "127.0.22.1" in site.pins.read_text() if is_pinned else "127.0.22.1" not in site.pins.read_text()


def test_connections_are_kept_open_under_names_of_the_run_and_a_second_import_adds_nothing(site: Site) -> None:
    site.has_control = False
    shown = {"hosts": "one", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"var": "ansible_ssh_args"}}]}
    with site.start(site.genuine, "genuine"):
        done = site.play(plays=[AFTERWARDS, {"ansible.builtin.import_playbook": "servos.ops.hostkeys"}, AFTERWARDS, shown])
        assert done.code == 0, done.text
        assert sorted(len(path.name) for path in site.sockets.iterdir()) == [8 + 1 + 40] * 4
        assert len({path.name.split("-")[0] for path in site.sockets.iterdir()}) == 2
    told = next(line for line in done.text.splitlines() if '"ansible_ssh_args"' in line and "ansible_facts" not in line)
    assert (told.count("UserKnownHostsFile"), told.count("ControlPath="), told.count("ControlMaster")) == (1, 1, 1)
