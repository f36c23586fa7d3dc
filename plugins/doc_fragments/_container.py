# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This doc fragment is PRIVATE and only for use by the servos.ops collection. It can change without notice.

from __future__ import annotations


class ModuleDocFragment:
    """What a container is, in the words that Docker and Podman share."""

    DOCUMENTATION = r"""
options:
  image:
    description:
      - The image. It is on the host before any secret is written.
      - Needed for O(state=started).
    type: str
  pull:
    description:
      - With V(missing), the image is pulled if it is not on the host; with V(always), in any case; with V(never), an absent
        one is an error.
    type: str
    choices:
      - missing
      - always
      - never
    default: missing
  command:
    description:
      - The words that follow the image.
    type: list
    elements: str
  entrypoint:
    description:
      - Replaces the entry point of the image.
    type: str
  ports:
    description:
      - Ports to publish, such as V(127.0.0.1:8080:80).
    type: list
    elements: str
  volumes:
    description:
      - Volumes and directories to mount, such as V(data:/var/lib/app:ro).
    type: list
    elements: str
  networks:
    description:
      - Networks to join; the first one is the container's own.
    type: list
    elements: str
  restart_policy:
    description:
      - V(no), V(on-failure), V(on-failure:N), V(always) or V(unless-stopped).
    type: str
  user:
    description:
      - User, and group, of the main process.
    type: str
  labels:
    description:
      - Labels of your own. Those that begin with C(servos.ops.) are the module's.
    type: dict
  read_only:
    description:
      - Mount the root file system read-only.
    type: bool
    default: false
  cap_drop:
    description:
      - Capabilities to drop.
    type: list
    elements: str
  cap_add:
    description:
      - Capabilities to add.
    type: list
    elements: str
  memory:
    description:
      - Limit of memory, such as V(512m).
    type: str
  cpus:
    description:
      - Limit of processors, such as V(1.5).
    type: str
  tmpfs:
    description:
      - Directories in memory, such as V(/tmp:size=64m).
    type: list
    elements: str
  working_dir:
    description:
      - Working directory of the main process.
    type: str
  hostname:
    description:
      - Host name inside the container.
    type: str
  security_opt:
    description:
      - Security options, such as V(no-new-privileges).
    type: list
    elements: str
  init:
    description:
      - Run an init process in the container.
    type: bool
    default: false
  stop_timeout:
    description:
      - Seconds that the container has to end when it is stopped; without it the engine's own, which is 10.
    type: int
  extra_args:
    description:
      - Further options of the engine's C(create), one a word, such as V(--gpus=all).
    type: list
    elements: str
"""
