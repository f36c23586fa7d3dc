# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""servos_setup_token on real files, and on the logs of real containers; nothing that it prints holds the token."""

from __future__ import annotations

import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import BOX, EngineUnderTest
from module_runs import ModuleRun, Outcome

TOKEN, OTHER = "3f9c2b7e-51aa-4c0d-9e66-0d5b1a7c8e42", "88c1d6f0-0000-4c0d-9e66-0d5b1a7c8e42"
NOT_ANSWERING = '#!/bin/sh\necho "Cannot connect to the Docker daemon at unix:///var/run/docker.sock." >&2\nexit 1\n'
NO_CONTAINER = "#!/bin/sh\ncase $1 in info) echo /var/lib/docker ;; esac\n"


class Site:
    """A directory in which the token may lie, and a place for the operator's copy."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "servos" / "setup_token"
        self.dest = folder / "operator" / "token"
        for path in (self.file, self.dest):
            path.parent.mkdir()

    def put(self, content: str = TOKEN + "\n", mode: int = 0o600) -> None:
        self.file.write_text(content)
        self.file.chmod(mode)

    def run(self, *, check: bool = False, **options: Any) -> Outcome:
        """Run it, and hold all that it prints to not being the token, nor a hash of it."""
        done = ModuleRun("servos_setup_token", dict({"path": str(self.file), "container": ""}, **options), check=check).wait()
        shown = [form for token in (TOKEN, OTHER) for form in (token, token[:8], hashlib.sha256(token.encode()).hexdigest()[:12])]
        assert [form for form in shown if form in done.printed] == []
        assert "exception" not in done.result, done.printed
        return done

    def names(self) -> list[str]:
        return sorted(os.listdir(self.file.parent))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_token_is_seen_and_stays(site: Site) -> None:
    site.put()
    done = site.run()
    assert (done["present"], done["left_behind"], done.changed, done.warnings) == (True, False, False, "")
    assert [(place["kind"], place["where"], place["mode"]) for place in done["places"]] == [("file", str(site.file), "0600")]
    assert site.file.read_text() == TOKEN + "\n"


def test_it_is_left_behind_by_what_is_told_or_by_its_age(site: Site) -> None:
    site.put()
    assert site.run(setup_finished=True)["left_behind"] is True
    os.utime(site.file, (0, 0))
    assert site.run()["left_behind"] is True
    assert site.run(setup_finished=False)["left_behind"] is False


def test_it_is_handed_over_once(site: Site) -> None:
    site.put()
    assert site.run(dest=str(site.dest), check=True).changed
    assert not site.dest.exists()
    assert site.run(dest=str(site.dest)).changed
    assert (site.dest.read_text(), stat.S_IMODE(site.dest.stat().st_mode)) == (TOKEN + "\n", 0o600)
    assert not site.run(dest=str(site.dest)).changed
    site.dest.chmod(0o644)
    assert site.run(dest=str(site.dest)).changed
    assert stat.S_IMODE(site.dest.stat().st_mode) == 0o600


def test_it_is_destroyed_with_its_copy(site: Site, tmp_path: Path) -> None:
    site.put()
    site.run(dest=str(site.dest))
    with site.file.open("rb") as still_open:
        looked = site.run(state="absent", dest=str(site.dest), check=True)
        assert (looked.changed, site.names(), site.dest.exists()) == (True, ["setup_token"], True)
        done = site.run(state="absent", setup_finished=True, dest=str(site.dest))
        assert done["removed"] == looked["removed"] == [str(site.file), str(site.dest)]
        assert still_open.read() == b"\x00" * (len(TOKEN) + 1)
    assert (done["present"], done["left_behind"], done["next_steps"]) == (False, False, [])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not site.run(state="absent", dest=str(site.dest)).changed


def test_what_a_killed_removal_has_left_is_seen_and_destroyed(site: Site) -> None:
    site.put()
    site.file.rename(site.file.parent / ".setup_token.servos-ops-new")
    assert [place["kind"] for place in site.run()["places"]] == ["interrupted"]
    assert site.run(state="absent").changed
    assert site.names() == []


def test_a_file_that_others_may_read_is_warned_of(site: Site) -> None:
    site.put(mode=0o644)
    done = site.run()
    assert "0644: every user" in done.warnings
    site.file.chmod(0o640)
    assert "0640: its group" in site.run().warnings


def _symlink(site: Site) -> None:
    site.put()
    site.file.rename(site.dest)
    site.file.symlink_to(site.dest)


def _hard_link(site: Site) -> None:
    site.put()
    os.link(site.file, site.dest)


BAD = {
    "symlink": (_symlink, {}, "symbolic link"),
    "hard link": (_hard_link, {}, "hard links"),
    "directory": (lambda site: site.file.mkdir(), {}, "not a regular file"),
    "pipe": (lambda site: os.mkfifo(site.file), {}, "not a regular file"),
    "wrong owner": (Site.put, {"owner": "54321"}, "belongs to uid"),
    "no such owner": (Site.put, {"owner": "nobody-of-that-name"}, "no such user"),
    "no token": (lambda site: site.put("root:x:0:0\nbin:x:1:1\n"), {}, "does not hold one token"),
    "relative": (Site.put, {"path": "setup_token"}, "absolute"),
    "bad phrase": (Site.put, {"container": "c", "log_phrase": "a.*"}, "log_phrase"),
}


@pytest.mark.parametrize("state", ["kept", "absent"])
@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_trusted_is_refused_and_left(
    site: Site, case: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stand_in(NO_CONTAINER.replace("esac", 'ps) echo 0 c ;; container) echo \'[{"Id":"0","Name":"c"}]\' ;; esac'), tmp_path, monkeypatch)
    prepare, options, words = BAD[case]
    prepare(site)
    before = site.names()
    done = site.run(state=state, **options)
    assert done.failed
    assert words in done.msg
    assert site.names() == before


def test_a_token_of_an_unfinished_setup_is_not_removed(site: Site) -> None:
    site.put()
    assert "setup is not finished" in site.run(state="absent", setup_finished=False).msg
    assert site.names() == ["setup_token"]


@pytest.mark.parametrize(("content", "words"), [(None, "there is no setup token"), ("", "there is no setup token")])
def test_what_is_not_there_is_not_handed_over(site: Site, content: str | None, words: str) -> None:
    if content is not None:
        site.put(content)
    assert words in site.run(dest=str(site.dest)).msg
    assert not site.dest.exists()


def test_a_copy_does_not_overwrite_anything_else(site: Site) -> None:
    site.put()
    site.dest.write_text("not a token\nat all\n")
    assert "does not hold one token" in site.run(dest=str(site.dest)).msg
    assert "does not hold one token" in site.run(dest=str(site.dest), state="absent").msg
    assert "the token lies already" in site.run(dest=str(site.file)).msg
    assert (site.file.read_text(), site.dest.read_text()) == (TOKEN + "\n", "not a token\nat all\n")


def _stand_in(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = folder / "commands"
    commands.mkdir()
    (commands / "docker").write_text(script)
    (commands / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")


def test_an_engine_that_does_not_answer_is_no_proof_that_there_is_none(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(NOT_ANSWERING, tmp_path, monkeypatch)
    site.put()
    done = site.run(container="servos-api", state="absent")
    assert done["error"] == "EngineError"
    assert "Cannot connect" in done.msg
    assert site.names() == ["setup_token"]
    looked = site.run(container="servos-api")
    assert (looked["present"], "no log was searched: docker does not answer: Cannot connect" in looked.warnings) == (True, True)
    assert site.run(container="servos-api", dest=str(site.dest))["error"] == "EngineError"


def test_no_container_is_no_failure_but_nothing_at_all_is_a_warning(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(NO_CONTAINER, tmp_path, monkeypatch)
    done = site.run(container="servos-api")
    assert (done["present"], done["container_found"], done.warnings) == (False, False, "")
    nowhere = site.run(container="servos-api", path=str(tmp_path / "none" / "setup_token"))
    assert "is it the right host" in nowhere.warnings


Talk = Callable[..., str]


@pytest.fixture
def talk(engine: EngineUnderTest) -> Iterator[Talk]:
    """Return a function that makes a container which prints lines and ends; all are removed."""
    made = []

    def start(*lines: str, options: tuple[str, ...] = ()) -> str:
        made.append(f"setup-{uuid.uuid4().hex[:12]}")
        script = "".join(f"echo '{line}'; " for line in lines)
        engine.run("run", "--name", made[-1], "--network", "none", *options, BOX, "/bin/sh", "-c", script, check=False)
        return made[-1]

    yield start
    for name in made:
        engine.remove(name)


def test_a_token_in_a_log_is_seen_handed_over_and_cannot_be_removed(site: Site, engine: EngineUnderTest, talk: Talk) -> None:
    log = {"engine": engine.command, "container": talk("starting", f"Setup token: {TOKEN}", "ready")}
    done = site.run(**log, dest=str(site.dest))
    assert [(place["kind"], place["where"]) for place in done["places"]] == [("log", f"{engine.command} logs {log['container']}")]
    assert 0 <= done["places"][0]["age_hours"] < 0.5
    assert site.dest.read_text() == TOKEN + "\n"
    gone = site.run(**log, state="absent", setup_finished=True)
    assert (gone.changed, gone["present"], gone["left_behind"]) == (False, True, True)
    assert "cannot be edited safely" in gone["next_steps"][0]


def test_two_tokens_in_a_log_are_not_chosen_from_unless_the_file_has_one(site: Site, engine: EngineUnderTest, talk: Talk) -> None:
    log = {"engine": engine.command, "container": talk(f"Setup token: {TOKEN}", f"setup_token={OTHER}", f"Setup token: {TOKEN}")}
    done = site.run(**log)
    assert len(done["places"]) == 2
    assert "2 different setup tokens" in done.warnings
    refused = site.run(**log, dest=str(site.dest))
    assert "2 different setup tokens, so none was written" in refused.msg
    site.put(OTHER)
    assert site.run(**log, dest=str(site.dest)).changed
    assert site.dest.read_text() == OTHER + "\n"


def test_a_file_in_what_the_container_has_mounted_is_seen_and_destroyed(site: Site, engine: EngineUnderTest, talk: Talk) -> None:
    site.put()
    name = talk("ready", options=("-v", f"{site.file.parent}:/var/lib/servos-ops-none"))
    asked = {"engine": engine.command, "container": name, "path": "/var/lib/servos-ops-none/setup_token"}
    assert [place["where"] for place in site.run(**asked)["places"]] == [str(site.file)]
    assert site.run(**asked, state="absent")["removed"] == [str(site.file)]
    assert site.names() == []


def test_a_log_that_cannot_be_read_is_named(site: Site, engine: EngineUnderTest, talk: Talk) -> None:
    name = talk(f"Setup token: {TOKEN}", options=("--log-driver", "none"))
    done = site.run(engine=engine.command, container=name)
    assert done["error"] == "EngineError"
    assert f"cannot show the log of the container {name} (log driver none" in done.msg
