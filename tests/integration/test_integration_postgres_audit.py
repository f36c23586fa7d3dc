# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an audit says of a PostgreSQL server: where it listens and whom it admits, as far as the role may see."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from installations import wait_until
from module_runs import Outcome
from postgres_fixtures import cluster, make_site, site
from postgres_servers import Cluster
from postgres_site import PostgresSite


def audited(site: PostgresSite) -> dict[str, tuple[str, str]]:
    outcome: Outcome = site.run("servos_audit", search=[], engines=[])
    assert not outcome.failed, outcome.msg
    kinds = ("database_hba_trust", "database_hba_wide", "database_listens", "could_not_look")
    return {check["id"]: (check["outcome"], check["reason"]) for check in outcome["checks"] if check["id"] in kinds}


@pytest.fixture
def rules(cluster: Cluster) -> Iterator[Any]:
    """Return a function that replaces the rules of the cluster; they are put back afterwards."""
    with cluster.connect() as connection:
        ((path,),) = connection.execute("SHOW hba_file").fetchall()
    with open(path, encoding="utf-8") as stream:
        before = stream.read()

    def replace(*lines: str) -> None:
        with open(path, "w", encoding="utf-8") as stream:
            stream.write("\n".join([*lines, before]))

        def is_read() -> bool:
            with cluster.connect() as connection:
                return bool(connection.execute("SELECT pg_reload_conf()").fetchall())

        wait_until(is_read)

    yield replace
    replace()


def grant(cluster: Cluster, site: PostgresSite) -> None:
    with cluster.connect(site.database) as connection:
        connection.execute(f"GRANT SELECT ON pg_hba_file_rules TO {site.role}")
        connection.execute(f"GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {site.role}")


def test_a_role_that_may_not_see_the_rules(site: PostgresSite) -> None:
    seen = audited(site)
    assert (seen["database_listens"], seen["database_hba_trust"][0]) == (("passed", ""), "skipped")
    assert "GRANT SELECT ON pg_hba_file_rules" in seen["database_hba_trust"][1]


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("host all nobody 10.0.0.0/8 trust", "database_hba_trust", "lets everybody in without a password"),
        ("host all nobody 10.1.2.3/32 password", "database_hba_trust", "takes the password in clear"),
        ("host all nobody 127.0.0.1/32 trust", "database_hba_trust", "from this host"),
        ("host all nobody 0.0.0.0/0 scram-sha-256", "database_hba_wide", "0.0.0.0"),
    ],
    ids=["trust", "in clear", "own host", "everybody"],
)
def test_a_rule_that_admits_too_much(site: PostgresSite, cluster: Cluster, rules: Any, line: str, kind: str, words: str) -> None:
    grant(cluster, site)
    rules(line)
    outcome, reason = audited(site)[kind]
    assert (outcome, words in reason) == ("failed", True), reason


def test_rules_that_the_server_cannot_read_are_not_taken_for_those_in_force(site: PostgresSite, cluster: Cluster, rules: Any) -> None:
    grant(cluster, site)
    rules("host all nobody 10.1.2.3/32 no-such-method")
    outcome, reason = audited(site)["could_not_look"]
    assert (outcome, "cannot read line 1 of pg_hba.conf" in reason) == ("failed", True), reason


def test_rules_for_named_hosts_are_sound(site: PostgresSite, cluster: Cluster, rules: Any) -> None:
    grant(cluster, site)
    rules("host all nobody 10.1.2.3/32 scram-sha-256")
    seen = audited(site)
    assert "line 1 " not in seen["database_hba_trust"][1]
    assert seen["database_hba_wide"][0] == "passed"


def test_a_server_that_does_not_answer_is_a_finding(site: PostgresSite) -> None:
    outcome = site.run("servos_audit", search=[], engines=[], database="postgresql://nobody@127.0.0.1:1/none")
    assert not outcome.failed
    assert "could_not_look" in {finding["id"] for finding in outcome["findings"]}


__all__ = ("cluster", "make_site", "site")  # fixtures that are made elsewhere
