/* Copyright (c) 2026, servos.ops contributors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Counts the calls at which state crosses a border, and makes one of them go wrong.
 *
 * Loaded by LD_PRELOAD into the process of the harness, of which every module run is a copy. It does nothing until
 * faults_arm() is called in such a copy, and is gone in every program that the copy executes. All processes of a run
 * count in one shared page, so that "the 57th call" means the same one each time.
 *
 * The calls are made by syscall(2): there is nothing to look up, so it works from the first instruction on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES 232
#define MAX_PIDS 64
#define MAX_ENTRIES 16384

/* In the order of shim.py. */
enum call { OPEN, WRITE, TRUNCATE, FSYNC, RENAME, UNLINK, MKDIR, RMDIR, MODE, CONNECT, SEND, RECV, EXEC, ENDED, LOCK };
enum fault { NONE, KILL, TORN, HANGUP, ENOSPC_FROM, EROFS_FROM, EIO_AT, CLOCK, RESET, PAUSE };

struct entry {
    int call, module, is_front;
    unsigned state;
    long size;
    char path[PATH_BYTES], other[PATH_BYTES];
};

struct shared {
    int counter, target, fault, fired; /* target: the number of the crossing that was aimed at, once it has come */
    int aimed_module, aimed_call, aimed_nth;
    int counts[LOCK + 1]; /* of each call, in this module */
    int paused, resume, module, n_pids;
    long clock_offset_s;
    int pids[MAX_PIDS];
    char root[PATH_BYTES];
    struct entry entries[MAX_ENTRIES];
};

static struct shared *shared;
static int armed;

static int own_pid(void) { return (int)syscall(SYS_getpid); }

static void join(void)
{
    int place = __atomic_fetch_add(&shared->n_pids, 1, __ATOMIC_SEQ_CST);
    if (place < MAX_PIDS)
        shared->pids[place] = own_pid();
}

static void after_fork(void)
{
    if (armed)
        join();
}

__attribute__((constructor)) static void prepare(void) { pthread_atfork(NULL, NULL, after_fork); }

void faults_use(void *region) { shared = region; }

void faults_arm(void)
{
    armed = 1;
    join();
}

static void kill_all(void)
{
    int n = shared->n_pids < MAX_PIDS ? shared->n_pids : MAX_PIDS;
    for (int i = 0; i < n; i++)
        if (shared->pids[i] && shared->pids[i] != own_pid())
            syscall(SYS_kill, shared->pids[i], SIGKILL);
    syscall(SYS_kill, own_pid(), SIGKILL);
    for (;;)
        syscall(SYS_pause);
}

/* Number a crossing; kill or pause there if that was asked for. Returns the number, from 1. */
static int cross(enum call call, const char *path, const char *other, long size)
{
    int saved = errno, n = __atomic_add_fetch(&shared->counter, 1, __ATOMIC_SEQ_CST);
    if (n <= MAX_ENTRIES) {
        struct entry *seen = &shared->entries[n - 1];
        seen->call = call;
        seen->module = shared->module;
        seen->is_front = own_pid() == shared->pids[0];
        seen->size = size;
        snprintf(seen->path, PATH_BYTES, "%s", path);
        snprintf(seen->other, PATH_BYTES, "%s", other ? other : "");
        seen->state = 1;
    }
    /* Aimed at by module and by how many calls of its kind came before: a poll more or less elsewhere does not matter. */
    int nth = __atomic_add_fetch(&shared->counts[call], 1, __ATOMIC_SEQ_CST);
    if (!shared->target && shared->fault && shared->module == shared->aimed_module && (int)call == shared->aimed_call &&
        nth == shared->aimed_nth)
        shared->target = n;
    if (n == shared->target) {
        if (shared->fault == KILL) {
            shared->fired = n;
            kill_all();
        }
        if (shared->fault == HANGUP) {
            shared->fired = n;
            syscall(SYS_kill, shared->pids[0], SIGKILL);
        }
        if (shared->fault == PAUSE) {
            shared->fired = n;
            __atomic_store_n(&shared->paused, 1, __ATOMIC_SEQ_CST);
            while (!__atomic_load_n(&shared->resume, __ATOMIC_SEQ_CST)) {
                struct timespec nap = {0, 1000000};
                syscall(SYS_nanosleep, &nap, NULL);
            }
        }
        if (shared->fault == CLOCK)
            shared->fired = n;
    }
    errno = saved;
    return n;
}

/* Whether the crossing fails: C(from) counts from the target on, C(at) at the target only. */
static int fails_from(int n, enum fault fault, int error)
{
    if (shared->fault != (int)fault || !shared->target || n < shared->target)
        return 0;
    if (!shared->fired)
        shared->fired = n;
    errno = error;
    return 1;
}

static int fails_at(int n, enum fault fault, int error)
{
    return n == shared->target && fails_from(n, fault, error);
}

/* What is looked at: the root and files below it, but not the shared memory of a write-ahead log, which is a lock table. */
static int is_ours(const char *path)
{
    size_t n = strlen(shared->root), length = strlen(path);
    int is_root = n && length == n - 1 && !strncmp(path, shared->root, length);
    return is_root || (n && !strncmp(path, shared->root, n) && !(length > 4 && !strcmp(path + length - 4, "-shm")));
}

static const char *path_of(int fd, char *room)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long got = syscall(SYS_readlink, link, room, PATH_BYTES - 1);
    room[got > 0 ? got : 0] = 0;
    return room;
}

static const char *path_at(int fd, const char *path, char *room)
{
    if (path[0] == '/' || fd == AT_FDCWD)
        return path;
    path_of(fd, room);
    size_t length = strlen(room);
    snprintf(room + length, PATH_BYTES - length, "/%s", path);
    return room;
}

static int watched_fd(int fd, char *room)
{
    if (!armed)
        return 0;
    int saved = errno;
    path_of(fd, room);
    errno = saved;
    return is_ours(room) || !strncmp(room, "pipe:", 5);
}

static int watched_path(const char *path) { return armed && path && is_ours(path); }

static int watched_socket(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    int saved = errno;
    int is_tcp = armed && !syscall(SYS_getsockname, fd, &address, &length) && address.ss_family == AF_INET;
    errno = saved;
    return is_tcp;
}

/* Files */

static int do_open(int fd, const char *path, int flags, mode_t mode)
{
    char room[PATH_BYTES];
    const char *whole = armed ? path_at(fd, path, room) : path;
    if (watched_path(whole) && (flags & (O_WRONLY | O_RDWR | O_CREAT)) && (flags & O_TMPFILE) != O_TMPFILE) {
        int saved = errno, is_new = (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, whole, F_OK) != 0;
        errno = saved;
        int n = cross(OPEN, whole, is_new ? "new" : "", 0);
        if (fails_from(n, EROFS_FROM, EROFS) || (is_new && fails_from(n, ENOSPC_FROM, ENOSPC)))
            return -1;
    }
    return (int)syscall(SYS_openat, fd, path, flags, mode);
}

#define WITH_MODE(flags)                                                                                               \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode = va_arg(more, mode_t);                                                                                   \
        va_end(more);                                                                                                  \
    }

int open(const char *path, int flags, ...) { WITH_MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { WITH_MODE(flags) return do_open(AT_FDCWD, path, flags, mode); }
int openat(int fd, const char *path, int flags, ...) { WITH_MODE(flags) return do_open(fd, path, flags, mode); }
int openat64(int fd, const char *path, int flags, ...) { WITH_MODE(flags) return do_open(fd, path, flags, mode); }

static int grows(int fd, off_t end)
{
    struct stat seen;
    return fstat(fd, &seen) == 0 && end > seen.st_size;
}

/* Returns the number of bytes that may be written, or -1. A torn write puts half of them down and dies. */
static ssize_t do_write(int fd, const void *content, size_t size, off_t offset, int is_placed)
{
    char room[PATH_BYTES];
    int dies = 0;
    if (watched_fd(fd, room)) {
        int n = cross(WRITE, room, NULL, (long)size), is_pipe = room[0] == 'p';
        off_t start = is_placed ? offset : lseek(fd, 0, SEEK_CUR);
        if (!is_pipe && (fails_from(n, EROFS_FROM, EROFS) || (grows(fd, start + (off_t)size) && fails_from(n, ENOSPC_FROM, ENOSPC))))
            return -1;
        if (n == shared->target && shared->fault == TORN) {
            dies = 1;
            size = size / 2;
        }
    }
    ssize_t done = is_placed ? syscall(SYS_pwrite64, fd, content, size, offset) : syscall(SYS_write, fd, content, size);
    if (dies) {
        shared->fired = shared->target;
        kill_all();
    }
    return done;
}

ssize_t write(int fd, const void *content, size_t size) { return do_write(fd, content, size, 0, 0); }
ssize_t pwrite(int fd, const void *content, size_t size, off_t offset) { return do_write(fd, content, size, offset, 1); }
ssize_t pwrite64(int fd, const void *content, size_t size, off64_t offset) { return do_write(fd, content, size, offset, 1); }

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    char room[PATH_BYTES];
    if (watched_fd(fd, room)) {
        int n = cross(WRITE, room, NULL, 0);
        if (fails_from(n, EROFS_FROM, EROFS) || fails_from(n, ENOSPC_FROM, ENOSPC))
            return -1;
    }
    return syscall(SYS_writev, fd, parts, count);
}

int ftruncate(int fd, off_t length)
{
    char room[PATH_BYTES];
    if (watched_fd(fd, room)) {
        int n = cross(TRUNCATE, room, NULL, (long)length);
        if (fails_from(n, EROFS_FROM, EROFS) || (grows(fd, length) && fails_from(n, ENOSPC_FROM, ENOSPC)))
            return -1;
    }
    return (int)syscall(SYS_ftruncate, fd, length);
}

int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

static int do_sync(int fd, long number)
{
    char room[PATH_BYTES];
    if (watched_fd(fd, room) && fails_at(cross(FSYNC, room, NULL, 0), EIO_AT, EIO))
        return -1;
    return (int)syscall(number, fd);
}

int fsync(int fd) { return do_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return do_sync(fd, SYS_fdatasync); }

static int do_rename(int from_fd, const char *from, int to_fd, const char *to)
{
    char one[PATH_BYTES], two[PATH_BYTES];
    const char *source = armed ? path_at(from_fd, from, one) : from, *target = armed ? path_at(to_fd, to, two) : to;
    if (watched_path(target) && fails_from(cross(RENAME, source, target, 0), EROFS_FROM, EROFS))
        return -1;
    return (int)syscall(SYS_renameat, from_fd, from, to_fd, to);
}

int rename(const char *from, const char *to) { return do_rename(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int from_fd, const char *from, int to_fd, const char *to) { return do_rename(from_fd, from, to_fd, to); }

/* A name that is not there is no border. */
static int changes_name(enum call call, int fd, const char *path)
{
    char room[PATH_BYTES];
    const char *whole = armed ? path_at(fd, path, room) : path;
    if (!watched_path(whole))
        return 0;
    int saved = errno, is_there = !syscall(SYS_faccessat, AT_FDCWD, whole, F_OK);
    errno = saved;
    if (is_there != (call == MKDIR)) {
        int n = cross(call, whole, NULL, 0);
        return fails_from(n, EROFS_FROM, EROFS) || (call == MKDIR && fails_from(n, ENOSPC_FROM, ENOSPC));
    }
    return 0;
}

int unlink(const char *path) { return changes_name(UNLINK, AT_FDCWD, path) ? -1 : (int)syscall(SYS_unlink, path); }
int rmdir(const char *path) { return changes_name(RMDIR, AT_FDCWD, path) ? -1 : (int)syscall(SYS_rmdir, path); }
int mkdir(const char *path, mode_t mode) { return changes_name(MKDIR, AT_FDCWD, path) ? -1 : (int)syscall(SYS_mkdir, path, mode); }

int unlinkat(int fd, const char *path, int flags)
{
    return changes_name(flags & AT_REMOVEDIR ? RMDIR : UNLINK, fd, path) ? -1 : (int)syscall(SYS_unlinkat, fd, path, flags);
}

static int changes_mode(const char *path) { return watched_path(path) && fails_from(cross(MODE, path, NULL, 0), EROFS_FROM, EROFS); }

int chmod(const char *path, mode_t mode) { return changes_mode(path) ? -1 : (int)syscall(SYS_chmod, path, mode); }
int chown(const char *path, uid_t uid, gid_t gid) { return changes_mode(path) ? -1 : (int)syscall(SYS_chown, path, uid, gid); }

int fchmod(int fd, mode_t mode)
{
    char room[PATH_BYTES];
    return armed && changes_mode(path_of(fd, room)) ? -1 : (int)syscall(SYS_fchmod, fd, mode);
}

int fchown(int fd, uid_t uid, gid_t gid)
{
    char room[PATH_BYTES];
    return armed && changes_mode(path_of(fd, room)) ? -1 : (int)syscall(SYS_fchown, fd, uid, gid);
}

int flock(int fd, int how)
{
    char room[PATH_BYTES];
    if (watched_fd(fd, room))
        cross(LOCK, room, NULL, 0);
    return (int)syscall(SYS_flock, fd, how);
}

/* Sockets: a request that is lost before it is sent, and a reply that is lost after the work was done. */

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    if (armed && address->sa_family == AF_INET && fails_at(cross(CONNECT, "socket", NULL, 0), RESET, ECONNREFUSED))
        return -1;
    return (int)syscall(SYS_connect, fd, address, length);
}

ssize_t sendto(int fd, const void *content, size_t size, int flags, const struct sockaddr *address, socklen_t length)
{
    if (watched_socket(fd) && fails_at(cross(SEND, "socket", NULL, (long)size), RESET, ECONNRESET))
        return -1;
    return syscall(SYS_sendto, fd, content, size, flags, address, length);
}

ssize_t send(int fd, const void *content, size_t size, int flags) { return sendto(fd, content, size, flags, NULL, 0); }

ssize_t recvfrom(int fd, void *content, size_t size, int flags, struct sockaddr *address, socklen_t *length)
{
    if (watched_socket(fd)) {
        /* The reply is awaited first: it is lost on its way, the request was not. */
        syscall(SYS_recvfrom, fd, content, size, flags | MSG_PEEK, NULL, NULL);
        if (fails_at(cross(RECV, "socket", NULL, 0), RESET, ECONNRESET))
            return -1;
    }
    return syscall(SYS_recvfrom, fd, content, size, flags, address, length);
}

ssize_t recv(int fd, void *content, size_t size, int flags) { return recvfrom(fd, content, size, flags, NULL, NULL); }

/* Programs: started here, ended there. The last word of the command names it. */

int execve(const char *path, char *const words[], char *const environment[])
{
    if (armed && !syscall(SYS_faccessat, AT_FDCWD, path, X_OK)) {
        const char *last = path;
        for (int i = 0; words[i]; i++)
            last = words[i];
        cross(EXEC, last, NULL, 0);
    }
    return (int)syscall(SYS_execve, path, words, environment);
}

pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    pid_t done = (pid_t)syscall(SYS_wait4, pid, status, options, usage);
    if (armed && done > 0)
        cross(ENDED, "program", NULL, 0);
    return done;
}

pid_t waitpid(pid_t pid, int *status, int options) { return wait4(pid, status, options, NULL); }

/* The wall clock; the monotonic one is left alone. */

static long shift(void)
{
    return armed && shared->fault == CLOCK && shared->target && shared->counter >= shared->target ? shared->clock_offset_s : 0;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    int done = (int)syscall(SYS_clock_gettime, id, now);
    if (!done && id == CLOCK_REALTIME)
        now->tv_sec += shift();
    return done;
}

time_t time(time_t *place)
{
    time_t now = syscall(SYS_time, NULL) + shift();
    if (place)
        *place = now;
    return now;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int done = (int)syscall(SYS_gettimeofday, now, zone);
    if (!done)
        now->tv_sec += shift();
    return done;
}
