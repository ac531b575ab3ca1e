#include "deploy/doctor/checks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The folder itself, or the nearest above it that is there. */
static void existing_part(const char *path, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s", path);
    while (access(out, F_OK) != 0) {
        char *slash = strrchr(out, '/');
        if (!slash) {
            snprintf(out, PATH_MAX, ".");
            return;
        }
        if (slash == out)
            slash++;
        *slash = '\0';
    }
}

static uint64_t count_checkpoints(const char *out)
{
    uint64_t count = 0;
    DIR *dir = opendir(out);
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        count += strncmp(entry->d_name, "checkpoint-", strlen("checkpoint-")) == 0;
    if (dir)
        closedir(dir);
    return count;
}

/* A file with a few bytes can be made there. */
static int try_write(const char *folder, int *error_out)
{
    char path[PATH_MAX];
    static const char bytes[4096];
    if (snprintf(path, sizeof(path), "%s/.talweg-doctor-XXXXXX", folder) >= (int)sizeof(path))
        return 0;
    int fd = mkstemp(path);
    *error_out = errno;
    if (fd < 0)
        return ERR_IO;
    bool is_written = write(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes) && fsync(fd) == 0;
    *error_out = errno;
    close(fd);
    unlink(path);
    return is_written ? 0 : ERR_IO;
}

static void check_room(const struct patient *patient, const char *out, const char *folder,
                       struct findings *findings)
{
    struct statvfs disk;
    char free_text[BYTES_TEXT], need_text[BYTES_TEXT], one_text[BYTES_TEXT];
    uint64_t one = need_of(patient->settings, &patient->size).checkpoint_bytes;
    uint64_t count = need_checkpoints(patient->settings), made = count_checkpoints(out);
    if (statvfs(folder, &disk) != 0)
        return;
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    bytes_text(free_bytes, free_text);
    if (patient->size.weight_count == 0) {
        findings_say(findings, FAMILY_DISK, FINDING_UNCHECKED,
                     "whether %s has room for checkpoints: their size is not known; %s are free",
                     out, free_text);
        return;
    }
    uint64_t left = count > made ? count - made : 1;
    uint64_t need = one * (count == 0 ? 1 : left);
    bool is_enough = need < free_bytes;
    bytes_text(need, need_text);
    findings_say(findings, FAMILY_DISK, is_enough ? FINDING_OK : FINDING_ERROR,
                 "%s: checkpoints take %s (%llu of %s), %s are free", out, need_text,
                 (unsigned long long)(count == 0 ? 1 : left), bytes_text(one, one_text), free_text);
    if (!is_enough) {
        findings_why(findings, "A checkpoint that finds no room fails; without the last one the "
                               "job has failed.");
        findings_do(findings, "Make room, another --out, or a lower checkpoint.keep.");
    }
    if (count == 0 || patient->settings->checkpoint.keep > 0)
        return;
    if (patient->settings->checkpoint.every > 0 || patient->settings->job.patience > 0) {
        findings_say(findings, FAMILY_DISK, FINDING_NOTE, "all checkpoints are kept");
        findings_why(findings, "checkpoint.keep is 0.");
    }
}

static void check_out(const struct patient *patient, struct findings *findings)
{
    char folder[PATH_MAX];
    int error;
    const char *out = patient->spec->out ? patient->spec->out : "out";
    if (patient->role == ROLE_COORDINATOR && patient->has_launch && patient->launch.out)
        out = patient->launch.out;
    existing_part(out, folder);
    if (try_write(folder, &error) != 0) {
        findings_say(findings, FAMILY_DISK, FINDING_ERROR, "cannot write to %s: %s", folder,
                     strerror(error));
        findings_why(findings, "Journal, metrics and checkpoints go to %s.", out);
        findings_do(findings, error == ENOSPC ? "Make room there, or give another --out."
                                              : "Give it to the user who runs the coordinator, or "
                                                "another --out.");
        return;
    }
    check_room(patient, out, folder, findings);
}

/* Where processes of one host find each other; it holds sockets, no bytes of weights. */
static void check_shared(const struct patient *patient, struct findings *findings)
{
    char own[PATH_MAX];
    struct stat info;
    const char *folder = patient->settings->exchange.shared_folder;
    if (!patient->settings->exchange.shared_memory || patient->role == ROLE_COORDINATOR)
        return;
    snprintf(own, sizeof(own), "%s/talweg-%u", folder, (unsigned)geteuid());
    bool is_there = lstat(own, &info) == 0;
    bool is_good = is_there ? S_ISDIR(info.st_mode) && info.st_uid == geteuid() &&
                                  (info.st_mode & 077) == 0
                            : access(folder, W_OK | X_OK) == 0;
    if (is_good)
        return;
    findings_say(findings, FAMILY_DISK, FINDING_WARNING, "%s: %s", is_there ? own : folder,
                 is_there ? "not a folder of this user's alone (mode 0700)" : strerror(errno));
    findings_why(findings, "Processes of this machine find each other's shared memory there; "
                           "without it all goes through sockets, which is slower.");
    findings_do(findings, "Mend it, or set exchange.shared_folder.");
}

void check_disk(struct patient *patient, struct findings *findings)
{
    if (patient_is(patient, ROLE_COORDINATOR))
        check_out(patient, findings);
    else
        findings_say(findings, FAMILY_DISK, FINDING_OK,
                     "a %s writes no results: checkpoints are the coordinator's",
                     patient_role_text(patient->role));
    check_shared(patient, findings);
}
