# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sphinx: the guides as they stand in docs/, and the reference that antsibull-docs generates. Nothing is fetched from the network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from docutils import nodes

GALAXY = yaml.safe_load((Path(__file__).resolve().parents[2] / "galaxy.yml").read_text(encoding="utf-8"))

project = "servos.ops"
author = "servos.ops contributors"
project_copyright = f"2026, {author}"
release = version = GALAXY["version"]

extensions = ["myst_parser", "sphinx_antsibull_ext"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
root_doc = "index"
exclude_patterns = ["README.md", "docs/docsite"]  # index.rst includes the first, and lies in the other
myst_heading_anchors = 3  # links to headings, as repository browsers understand them
default_role = "any"

html_theme = "furo"
html_title = f"servos.ops {release}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
pygments_style = "ansible"
highlight_language = "text"

# What antsibull-docs refers to in Ansible's own documentation. An inventory of that would have to be fetched for each build.
ANSIBLE = "https://docs.ansible.com/ansible/latest"
ANSIBLE_PAGES = {
    "action_plugins": "plugins/action.html",
    "ansible_configuration_settings": "reference_appendices/config.html",
    "callback_plugins": "plugins/callback.html",
    "common_return_values": "reference_appendices/common_return_values.html",
}


def refer_to_ansible(unused_app: Any, unused_env: Any, node: Any, text: nodes.Element) -> nodes.reference | None:
    """Link a label of Ansible's documentation. Any other label that is not found stays an error."""
    page = ANSIBLE_PAGES.get(node.get("reftarget", ""))
    return nodes.reference("", "", text, internal=False, refuri=f"{ANSIBLE}/{page}") if page else None


def link_what_is_here(unused_app: Any, docname: str, source: list[str]) -> None:
    """Link pages of the site where a text has their address, and the repository where it has a file that is no page.

    The list of guides lies in Ansible's own documentation too, and so names them by their address.
    """
    files = f"{GALAXY['repository']}/blob/main"
    if docname == "reference/docsite/guides":
        source[0] = re.sub(rf"`([^`<]+?) <{re.escape(files)}/docs/([\w-]+)\.md>`__", r":doc:`\1 </docs/\2>`", source[0])
    if docname.startswith("docs/"):
        source[0] = re.sub(r"\]\(\.\./(?!CONTRIBUTING\.md|CHANGELOG\.rst)", f"]({files}/", source[0])
        source[0] = re.sub(r"\]\((?=examples\b)", f"]({files}/docs/", source[0])
    source[0] = re.sub(r"^\.\. contents::.*\n(?: +:.*\n)*", "", source[0], flags=re.M)  # the theme has it beside each page


def setup(app: Any) -> None:
    """Connect the two."""
    app.connect("missing-reference", refer_to_ansible)
    app.connect("source-read", link_what_is_here)
