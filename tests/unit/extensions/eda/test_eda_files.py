# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of what was received, and the file of secrets: real files, and a disk that fails in the middle."""

from __future__ import annotations

import errno
import json
import os
import stat

import pytest

NOW = 1_800_000_000
DAY = 86400
EVENT = {"kind": "key_leaked", "id": "evt-1"}


@pytest.fixture(scope="session")
def receipts(part):
    return part("receipts")


@pytest.fixture(scope="session")
def secret_file(part):
    return part("secret_file")


@pytest.fixture
def opened(receipts, tmp_path):
    """Return a function that opens the file of this test; what stays open is closed at its end."""
    made = []

    def open_it(now=NOW, name="receipts", **options):
        made.append(receipts.Receipts(str(tmp_path / name), tolerance_s=300, now=now, **options))
        return made[-1]

    yield open_it
    for each in made:
        each.close()


def lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "receipts").read_bytes().splitlines()]


def test_what_was_taken_is_known_after_a_restart(opened, tmp_path):
    first = opened()
    first.take("a", EVENT, is_dated=True, now=NOW)
    assert lines(tmp_path) == [{"mark": "a", "at": NOW, "dated": True, "event": EVENT}]  # before anything else is done
    first.passed_on("a", now=NOW)
    assert first.knows("a")
    assert stat.S_IMODE((tmp_path / "receipts").stat().st_mode) == 0o600
    first.close()
    again = opened()
    assert again.knows("a")
    assert not again.knows("b")
    assert again.waiting() == []


def test_what_was_not_passed_on_waits_for_the_next_start_in_its_order(opened):
    first = opened()
    for mark in ("c", "a", "b"):
        first.take(mark, dict(EVENT, id=mark), is_dated=True, now=NOW)
    first.passed_on("a", now=NOW)
    first.close()
    again = opened(now=NOW + 30 * DAY)
    assert again.waiting() == [("c", dict(EVENT, id="c")), ("b", dict(EVENT, id="b"))]
    again.passed_on("c", now=NOW)
    again.passed_on("b", now=NOW)
    again.close()
    assert opened().waiting() == []


@pytest.mark.parametrize(
    ("is_dated", "after", "knows"),
    [(True, 300 + 7 * DAY - 1, True), (True, 300 + 7 * DAY, False), (False, 3000 * DAY, True)],
    ids=["dated, a week", "dated, later", "undated, for ever"],
)
def test_how_long_it_is_remembered(opened, is_dated, after, knows):
    first = opened()
    first.take("a", EVENT, is_dated=is_dated, now=NOW)
    first.passed_on("a", now=NOW)
    first.close()
    assert opened(now=NOW + after).knows("a") is knows


def test_the_file_does_not_grow_by_what_is_forgotten(opened, tmp_path):
    store = opened()
    for number in range(1500):
        store.take(str(number), EVENT, is_dated=True, now=NOW + number * DAY)
        store.passed_on(str(number), now=NOW + number * DAY)
    assert len(lines(tmp_path)) <= 1010
    assert store.knows("1499")
    store.close()
    again = opened(now=NOW + 1499 * DAY)
    assert again.knows("1499")
    assert not again.knows("1400")


def test_what_is_forgotten_while_it_is_passed_on(receipts, opened, monkeypatch):
    store = opened()
    store.take("a", EVENT, is_dated=True, now=NOW)
    monkeypatch.setattr(receipts, "_COMPACTED_EVERY", 1)
    store.passed_on("a", now=NOW + 30 * DAY)
    store.close()
    assert not opened(now=NOW + 30 * DAY).knows("a")


def test_how_many_within_an_hour(opened):
    store = opened()
    for number, at in enumerate([NOW - 3601, NOW - 3600, NOW - 3599, NOW]):
        store.take(str(number), EVENT, is_dated=True, now=at)
    assert store.taken_within_hour(NOW) == 2


def test_one_receiver_at_a_time(receipts, opened, tmp_path):
    first = opened()
    with pytest.raises(receipts.ReceiptsError, match="another receiver uses"):
        opened()
    first.close()
    opened().take("a", EVENT, is_dated=True, now=NOW)
    assert len(lines(tmp_path)) == 1


def test_a_line_that_the_power_cut_off_was_never_taken(opened, tmp_path):
    store = opened()
    store.take("a", EVENT, is_dated=True, now=NOW)
    store.close()
    with open(str(tmp_path / "receipts"), "ab") as stream:
        stream.write(b'{"mark":"b","at":18000')
    again = opened()
    assert (again.knows("a"), again.knows("b")) == (True, False)
    again.take("b", EVENT, is_dated=True, now=NOW)
    assert [line["mark"] for line in lines(tmp_path)] == ["a", "b"]


BROKEN = [b"\x00" * 30, b"[]", b'{"mark": "a"}', b'{"mark": "a", "at": "x", "dated": true, "event": null}', b"5", b"\xff", b""]


@pytest.mark.parametrize("line", BROKEN, ids=["zeros", "a list", "no time", "no number", "a number", "no text", "nothing"])
def test_a_line_in_the_middle_that_cannot_be_read_stops_all(receipts, opened, tmp_path, line):
    good = b'{"mark":"a","at":1,"dated":true,"event":null}\n'
    (tmp_path / "receipts").write_bytes(good + line + b"\n" + good)
    (tmp_path / "receipts").chmod(0o600)
    with pytest.raises(receipts.ReceiptsError, match="line 2 of"):
        opened()
    assert (tmp_path / "receipts").read_bytes().count(b"\n") == 3  # as it was


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_disk_that_is_full_takes_nothing_and_goes_on_when_there_is_room(receipts, opened, tmp_path, monkeypatch, call):
    store = opened()
    store.take("a", EVENT, is_dated=True, now=NOW)
    real = getattr(os, call)

    def full(*argv, **options):
        if call == "write":
            real(argv[0], argv[1][:10])  # half of it arrives
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        if call == "rename":
            patched.setattr(os, "fsync", full)
            with pytest.raises(receipts.ReceiptsError, match="No space left"):
                store.take("b", EVENT, is_dated=True, now=NOW)
            patched.setattr(os, "fsync", os.fdatasync)
        patched.setattr(os, call, full)
        for unused in range(2):
            with pytest.raises(receipts.ReceiptsError, match="No space left"):
                store.take("b", EVENT, is_dated=True, now=NOW)
        assert not store.knows("b")
    store.take("c", EVENT, is_dated=True, now=NOW)
    assert [line["mark"] for line in lines(tmp_path)] == ["a", "c"]
    assert stat.S_IMODE((tmp_path / "receipts").stat().st_mode) == 0o600
    store.close()
    assert [mark for mark, unused in opened().waiting()] == ["a", "c"]


def test_it_is_on_disk_before_it_is_taken(opened, tmp_path, monkeypatch):
    """Each byte of the line is there when fsync is called, and take comes back after that."""
    store, seen = opened(), []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (seen.append((store.knows("a"), len(lines(tmp_path)))), real(descriptor)))
    store.take("a", EVENT, is_dated=True, now=NOW)
    assert seen == [(False, 1)]


def test_who_else_could_write_is_refused(receipts, opened, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(receipts.ReceiptsError, match="others may write"):
        opened(name="open/receipts")
    (tmp_path / "readable").write_bytes(b"")
    (tmp_path / "readable").chmod(0o644)
    with pytest.raises(receipts.ReceiptsError, match="0600"):
        opened(name="readable")
    (tmp_path / "link").symlink_to(tmp_path / "other")
    with pytest.raises(receipts.ReceiptsError, match="cannot read"):
        opened(name="link")
    with pytest.raises(receipts.ReceiptsError, match=r"cannot lock .*No such file"):
        opened(name="missing/receipts")
    assert not (tmp_path / "other").exists()


def test_an_event_with_a_receipt_waits_until_that_is_gone(opened, tmp_path):
    folder = tmp_path / "receipts.open"
    store = opened(acknowledge=True)
    one, two = (store.take(mark, dict(EVENT, id="evt-" + mark), is_dated=True, now=NOW) for mark in "ab")
    assert (one["receipt"], sorted(os.listdir(str(folder)))) == (str(folder / "evt-a"), ["evt-a", "evt-b"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    store.close()
    again = opened(now=NOW + 30 * DAY, acknowledge=True)
    assert again.waiting() == [("a", one), ("b", two)]
    (folder / "evt-a").unlink()
    again.settle(now=NOW)
    assert again.waiting() == [("b", two)]
    again.close()
    (folder / "evt-b").unlink()
    last = opened(acknowledge=True)
    assert (last.waiting(), last.knows("a"), last.knows("b")) == ([], True, True)
    last.close()
    assert opened().waiting() == []


def test_an_event_without_a_receipt_waits_too_when_receipts_are_asked_for_later(opened):
    first = opened()
    first.take("a", EVENT, is_dated=True, now=NOW)
    first.close()
    assert opened(acknowledge=True).waiting() == [("a", EVENT)]


def test_a_receipt_whose_event_was_never_taken_is_removed(receipts, opened, tmp_path, monkeypatch):
    store, real = opened(acknowledge=True), os.fsync

    def full_disk_for_the_line(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOSPC, "full")
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full_disk_for_the_line)
        with pytest.raises(receipts.ReceiptsError):
            store.take("a", dict(EVENT, id="evt-a"), is_dated=True, now=NOW)
    assert (tmp_path / "receipts.open" / "evt-a").exists()
    (tmp_path / "receipts.open" / "mine").write_text("")
    store.take("b", dict(EVENT, id="evt-b"), is_dated=True, now=NOW)
    store.close()
    assert [mark for mark, unused in opened(acknowledge=True).waiting()] == ["b"]
    assert sorted(os.listdir(str(tmp_path / "receipts.open"))) == ["evt-b", "mine"]


def test_a_receipt_is_there_before_its_event_is_taken(receipts, opened, tmp_path):
    """Else an event whose receipt could not be made would count as acted on."""
    store = opened(acknowledge=True)
    (tmp_path / "receipts.open").mkdir(mode=0o755)
    with pytest.raises(receipts.ReceiptsError, match="0700"):
        store.take("a", dict(EVENT, id="evt-a"), is_dated=True, now=NOW)
    (tmp_path / "receipts.open").rmdir()
    (tmp_path / "receipts.open").write_text("")
    with pytest.raises(receipts.ReceiptsError, match="0700"):
        store.take("a", dict(EVENT, id="evt-a"), is_dated=True, now=NOW)
    assert not store.knows("a")
    assert lines(tmp_path) == []


class KilledError(BaseException):
    """The process ends here; what it had written is on disk."""


CALLS = ("open", "write", "fsync", "rename", "mkdir", "unlink")
MOST = 70


@pytest.fixture
def killed_at(monkeypatch):
    """Return a function that lets the process die in the middle of its n-th call that changes the disk."""

    def arm(number):
        counted = []

        def dying(real, name):
            def call(*argv, **options):
                if name == "open" and not argv[1] & os.O_CREAT:
                    return real(*argv, **options)
                counted.append(name)
                if len(counted) == number:
                    if name == "write":
                        real(argv[0], argv[1][: len(argv[1]) // 2])
                    raise KilledError
                if len(counted) > number:
                    raise KilledError  # it is dead, and cannot mend anything either
                return real(*argv, **options)

            return call

        patched = monkeypatch.context()
        context = patched.__enter__()
        for name in CALLS:
            context.setattr(os, name, dying(getattr(os, name), name))
        return counted, lambda: patched.__exit__(None, None, None)

    return arm


@pytest.mark.parametrize("acknowledge", [False, True], ids=["passed on", "acted on"])
@pytest.mark.parametrize("number", range(1, MOST))
def test_killed_anywhere_nothing_that_was_answered_is_lost(receipts, opened, tmp_path, monkeypatch, killed_at, acknowledge, number):
    monkeypatch.setattr(receipts, "_COMPACTED_EVERY", 2)
    opened(acknowledge=acknowledge).close()
    taken, begun, done = [], [], []
    store = None
    counted, revive = killed_at(number)
    try:
        store = opened(acknowledge=acknowledge)
        for mark in "abcd":
            event = store.take(mark, dict(EVENT, id="evt-" + mark), is_dated=True, now=NOW)
            taken.append(mark)
            if mark in "ac":
                begun.append(mark)
                if acknowledge:
                    os.remove(event["receipt"])
                    store.settle(now=NOW)
                else:
                    store.passed_on(mark, now=NOW)
                done.append(mark)
    except KilledError:
        pass
    finally:
        revive()
    assert len(counted) < MOST - 1, "the last of them is to run to its end"
    if store is not None:
        store.close()
    again = opened(acknowledge=acknowledge)
    known = [mark for mark in "abcd" if again.knows(mark)]
    waiting = [mark for mark, unused in again.waiting()]
    assert known[: len(taken)] == taken
    assert len(known) <= len(taken) + 1  # one that was on disk, and nobody was told
    assert [mark for mark in taken if mark not in begun and mark not in waiting] == []
    assert [mark for mark in (begun if acknowledge else done) if mark in waiting] == []
    again.take("e", dict(EVENT, id="evt-e"), is_dated=True, now=NOW)


SECRET, OLDER = "0123456789abcdef-newest", "0123456789abcdef-before"


@pytest.fixture
def written(tmp_path):
    """Return a function that writes a file of secrets."""

    def write(text, mode=0o600):
        path = tmp_path / "secrets"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("text", "secrets"),
    [(SECRET, [SECRET]), (SECRET + "\n", [SECRET]), (f"{SECRET}\r\n\n {OLDER} \n", [SECRET, OLDER])],
    ids=["one", "with an end", "two"],
)
@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_secrets_are_read(secret_file, written, text, secrets, mode):
    assert secret_file.read_secrets(written(text, mode)) == secrets


NO_SECRETS = {
    "empty": ("", 0o600, "one secret in a line"),
    "blank": ("\n \n", 0o600, "one secret in a line"),
    "three": (f"{SECRET}\n{OLDER}\n{SECRET}1\n", 0o600, "one secret in a line"),
    "short": (f"{SECRET}\nhunter2\n", 0o600, "shorter than 16"),
    "no text": (b"\xff\xfe" * 20, 0o600, "is not text"),
    "endless": ("x" * 5000, 0o600, "one secret in a line"),
    "readable by the group": (SECRET, 0o640, "open to others"),
    "readable by all": (SECRET, 0o604, "open to others"),
}


@pytest.mark.parametrize(("text", "mode", "word"), NO_SECRETS.values(), ids=NO_SECRETS)
def test_secrets_that_are_none(secret_file, written, text, mode, word):
    path = written(text, mode)
    with pytest.raises(secret_file.SecretFileError, match=word) as refused:
        secret_file.read_secrets(path)
    assert path in str(refused.value)
    assert [secret for secret in (SECRET, OLDER, "hunter2") if secret in str(refused.value)] == []


def test_no_file_of_secrets(secret_file, tmp_path):
    with pytest.raises(secret_file.SecretFileError, match="No such file"):
        secret_file.read_secrets(str(tmp_path / "missing"))
    os.mkfifo(str(tmp_path / "pipe"))
    with pytest.raises(secret_file.SecretFileError, match="not a regular file"):
        secret_file.read_secrets(str(tmp_path / "pipe"))
