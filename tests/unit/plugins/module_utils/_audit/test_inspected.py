# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the variables that an engine shows count as secrets."""

from __future__ import annotations

import json

import pytest
from ansible_collections.servos.ops.plugins.module_utils._audit.inspected import secret_variables

LINES = {
    "token": ("API_TOKEN=x", True),
    "password": ("POSTGRES_PASSWORD=x", True),
    "lower case": ("db_password=x", True),
    "key": ("OPENAI_API_KEY=x", True),
    "key alone": ("KEY=x", True),
    "master key": ("SERVOS_MASTERKEY=x", True),
    "password in a URL": ("DATABASE_URL=postgres://u:p@h/d", True),
    "URL without password": ("DATABASE_URL=postgres://u@h/d", False),
    "URL with a port": ("BASE_URL=http://h:80/d@e", False),
    "file of a token": ("API_TOKEN_FILE=/run/secrets/t", False),
    "public key": ("SSH_PUBLIC_KEY=x", False),
    "empty": ("API_TOKEN=", False),
    "no value": ("API_TOKEN", False),
    "of the image": ("IMAGE_TOKEN=x", False),
    "directory": ("PWD=/srv", False),
    "libpq": ("PGPASSWORD=x", True),
    "written together": ("dbPassword=x", True),
    "token written together": ("apiToken=x", True),
    "short": ("MYSQL_PASS=x", True),
    "passwords can be numbers": ("DB_PASSWORD=1234", True),
    "Rails": ("SECRET_KEY_BASE=x", True),
    "Redis": ("REDISCLI_AUTH=x", True),
    "a number of words": ("MAX_TOKENS=4096", False),
    "a switch": ("ENABLE_AUTH=true", False),
    "no pass": ("BYPASS=x", False),
    "a compass": ("COMPASS=x", False),
    "monkey": ("MONKEY=x", False),
    "other": ("MODE=fast", False),
}


@pytest.mark.parametrize(("line", "is_secret"), LINES.values(), ids=LINES)
def test_a_variable_is_a_secret_by_its_name_or_by_a_password_in_it(line, is_secret):
    shown = {"Config": {"Env": ["A=b", line]}}
    assert secret_variables(shown, ["IMAGE_TOKEN=x"]) == ([line.partition("=")[0]] if is_secret else [])


LABELS = {
    "injected": ({"servos.ops.secrets": json.dumps({"MODE": "digest"})}, ["MODE"]),
    "mounted": ({"servos.ops.secrets": json.dumps({"MODE": "digest"}), "servos.ops.mount": "/run/servos/secrets/x"}, []),
    "no JSON": ({"servos.ops.secrets": "{"}, []),
    "a list": ({"servos.ops.secrets": "[]"}, []),
    "none": ({}, []),
}


@pytest.mark.parametrize(("labels", "names"), LABELS.values(), ids=LABELS)
def test_a_variable_is_a_secret_by_the_label_of_who_injected_it(labels, names):
    assert secret_variables({"Config": {"Env": ["MODE=fast"], "Labels": labels}}, []) == names


def test_what_shows_nothing_holds_nothing():
    assert secret_variables({}, []) == []
