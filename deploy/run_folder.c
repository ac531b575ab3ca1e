#include "deploy/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Room that a socket's name needs after the folder's: "/server-1023.4294967295-63" and an end. */
enum { SOCKET_NAME_BYTES = 28 };

void run_folder_path(const struct run_folder *folder, char path_out[PATH_MAX], const char *format,
                     ...)
{
    size_t used = (size_t)snprintf(path_out, PATH_MAX, "%s/", folder->out);
    if (used >= PATH_MAX)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(path_out + used, PATH_MAX - used, format, args);
    va_end(args);
}

/* mkdir -p; a folder that is there is left as it is. */
static int make_folders(const char *path, mode_t mode, struct err_msg *why)
{
    char part[PATH_MAX];
    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return err_set(why, ERR_IO, "%s: cannot be made: %s", part, strerror(errno));
        *slash = '/';
    }
    if (mkdir(part, mode) != 0 && errno != EEXIST)
        return err_set(why, ERR_IO, "%s: cannot be made: %s", part, strerror(errno));
    struct stat info;
    if (stat(part, &info) != 0 || !S_ISDIR(info.st_mode))
        return err_set(why, ERR_IO, "%s: is there and is not a folder", part);
    return 0;
}

static int take_lock(struct run_folder *folder, struct err_msg *why)
{
    char path[PATH_MAX];
    run_folder_path(folder, path, "run/lock");
    folder->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (folder->lock_fd < 0)
        return err_set(why, ERR_IO, "%s: cannot be written: %s", path, strerror(errno));
    if (flock(folder->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    int code = errno == EWOULDBLOCK
                   ? err_set(why, ERR_REFUSED,
                             "%s: another run is using this folder; wait for it, "
                             "or give another --out",
                             folder->out)
                   : err_set(why, ERR_IO, "%s: cannot be locked: %s", path, strerror(errno));
    close(folder->lock_fd);
    folder->lock_fd = -1;
    return code;
}

static int choose_sockets(struct run_folder *folder, struct err_msg *why)
{
    run_folder_path(folder, folder->sockets, "run");
    if (strlen(folder->sockets) + SOCKET_NAME_BYTES <= sizeof(((struct sockaddr_un *)0)->sun_path))
        return 0;
    snprintf(folder->sockets, sizeof(folder->sockets), "/tmp/talweg-XXXXXX");
    if (!mkdtemp(folder->sockets))
        return err_set(why, ERR_IO, "%s: cannot be made: %s", folder->sockets, strerror(errno));
    return 0;
}

int run_folder_open(const char *out, struct run_folder *folder_out, struct err_msg *why)
{
    struct run_folder folder = {.lock_fd = -1};
    char path[PATH_MAX];
    if (!*out || strlen(out) >= PATH_MAX)
        return err_set(why, ERR_INPUT, "--out: found %s, expected a folder",
                       *out ? "a path that is too long" : "nothing");
    int code = make_folders(out, 0777, why);
    if (code < 0)
        return code;
    if (!realpath(out, folder.out))
        return err_set(why, ERR_IO, "%s: cannot be found: %s", out, strerror(errno));
    if (access(folder.out, W_OK | X_OK) != 0)
        return err_set(why, ERR_IO, "%s: cannot be written to: %s", folder.out, strerror(errno));
    run_folder_path(&folder, path, "log");
    code = make_folders(path, 0777, why);
    run_folder_path(&folder, path, "run");
    if (code == 0)
        code = make_folders(path, 0700, why);
    if (code == 0)
        code = take_lock(&folder, why);
    if (code == 0)
        code = choose_sockets(&folder, why);
    if (code < 0 && folder.lock_fd >= 0)
        close(folder.lock_fd);
    if (code == 0)
        *folder_out = folder;
    return code;
}

static void remove_sockets(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        struct stat info;
        if (fstatat(dirfd(dir), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISSOCK(info.st_mode))
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
    closedir(dir);
}

void run_folder_close(struct run_folder *folder)
{
    char path[PATH_MAX];
    remove_sockets(folder->sockets);
    run_folder_path(folder, path, "run");
    if (strcmp(path, folder->sockets) != 0)
        rmdir(folder->sockets);
    if (folder->lock_fd >= 0)
        close(folder->lock_fd);
    folder->lock_fd = -1;
}
