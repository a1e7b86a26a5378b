/* A store on a network file system that fails: the file $FAULTS is `operation errno times where`, and counts down.
   What lies under $FAULTS_UNDER and has `where` in its path is meant; everything else works as ever. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fails(const char *operation, const char *path) {
    const char *under = getenv("FAULTS_UNDER"), *plan = getenv("FAULTS");
    if (!under || !plan || !path || strncmp(path, under, strlen(under))) return 0;
    char text[128] = "", named[32] = "", where[32] = "";
    int code = 0, times = 0, failed = 0, saved = errno;
    long file = syscall(SYS_openat, AT_FDCWD, plan, O_RDWR, 0);
    if (file < 0) { errno = saved; return 0; }
    flock((int)file, LOCK_EX);
    if (syscall(SYS_read, file, text, sizeof text - 1) > 0 && sscanf(text, "%31s %d %d %31s", named, &code, &times, where) == 4 &&
        times > 0 && !strcmp(named, operation) && strstr(path, where)) {
        int length = snprintf(text, sizeof text, "%s %d %d %s\n", named, code, times - 1, where);
        syscall(SYS_ftruncate, file, 0);
        syscall(SYS_pwrite64, file, text, (size_t)length, 0L);
        failed = 1;
    }
    syscall(SYS_close, file);
    errno = failed ? code : saved;
    return failed;
}

static int fails_at(const char *operation, int handle) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    long length = syscall(SYS_readlink, link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return fails(operation, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPENS(name)                                                            \
    int name(const char *path, int flags, ...) {                               \
        va_list rest;                                                          \
        va_start(rest, flags);                                                 \
        mode_t mode = va_arg(rest, mode_t);                                    \
        va_end(rest);                                                          \
        return (flags & O_CREAT) && fails("open", path) ? -1 : REAL(name)(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

ssize_t write(int handle, const void *bytes, size_t count) { return fails_at("write", handle) ? -1 : REAL(write)(handle, bytes, count); }
int fsync(int handle) { return fails_at("fsync", handle) ? -1 : REAL(fsync)(handle); }
int link(const char *from, const char *to) { return fails("link", to) ? -1 : REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return fails("link", to) ? -1 : REAL(linkat)(a, from, b, to, flags); }
int mkdir(const char *path, mode_t mode) { return fails("mkdir", path) ? -1 : REAL(mkdir)(path, mode); }
int statvfs(const char *path, struct statvfs *found) { return fails("statvfs", path) ? -1 : REAL(statvfs)(path, found); }
int statvfs64(const char *path, struct statvfs64 *found) { return fails("statvfs", path) ? -1 : REAL(statvfs64)(path, found); }
DIR *opendir(const char *path) { return fails("opendir", path) ? NULL : REAL(opendir)(path); }
