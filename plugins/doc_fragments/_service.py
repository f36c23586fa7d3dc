# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This doc fragment is PRIVATE and only for use by the servos.ops collection. It can change without notice.

from __future__ import annotations


class ModuleDocFragment:
    """The service that runs the application."""

    DOCUMENTATION = r"""
options:
  service:
    description:
      - The service that runs the application. For ServOS and ACT the default is the unit of that name.
      - With O(service_manager=compose), the service's name in the Compose file.
      - With O(service_manager=systemd), several units with blanks between are stopped in that order and started in reverse; the
        main process of each is held against the configuration.
    type: str
  service_manager:
    description:
      - What stops and starts the service.
      - With V(compose), the container is made anew at each start (C(up --force-recreate)), since it keeps the environment that it was
        created with. Nothing is built for that, and no other service is touched.
      - With V(none) nothing is stopped or started, and no process is held against the env file. One that was started with the
        old key keeps that from being retired all the same.
    type: str
    choices:
      - command
      - compose
      - none
      - systemd
    default: systemd
  service_commands:
    description:
      - The commands of O(service_manager=command), as lists of words; no shell is involved.
    type: dict
    suboptions:
      stop:
        description: Stops the service; may come back before it has stopped.
        type: list
        elements: str
      start:
        description: Starts the service; must not wait for its end.
        type: list
        elements: str
      pid_file:
        description: The file that holds the process id of the running service.
        type: path
      pid:
        description: Prints the process id of the running service, where there is no file.
        type: list
        elements: str
  service_compose:
    description:
      - The Docker Compose project of O(service_manager=compose). O(service) must have one container.
    type: dict
    suboptions:
      project_directory:
        description:
          - The project's directory. Every command runs in it, so that name and C(.env) of the project are those of a command by hand.
          - The default is the directory of the first of O(service_compose.files).
        type: path
      files:
        description: The Compose files, where they are not the ones that Compose finds in the directory itself.
        type: list
        elements: path
      project_name:
        description: The project's name, where it is neither the directory's nor in the file.
        type: str
      command:
        description: The command. The default is C(docker compose), and C(docker-compose) where there is none.
        type: list
        elements: str
"""
