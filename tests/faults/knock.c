/* Copyright (c) 2026, servos.ops contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * knock SOCKET WORD...: hands the words to whoever listens there, one a line, and exits with the byte that comes back.
 * It is what `start` of a test's service is made of; a new interpreter for it would cost more than all the rest of a trial.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int count, char **words)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    unsigned char code = 1;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (count < 2 || fd < 0)
        return 1;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", words[1]);
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        return 1;
    for (int i = 2; i < count; i++)
        if (write(fd, words[i], strlen(words[i])) < 0 || write(fd, "\n", 1) != 1)
            return 1;
    shutdown(fd, SHUT_WR);
    return read(fd, &code, 1) == 1 ? code : 1;
}
