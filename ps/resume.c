#include "ps/resume.h"

#include <stdio.h>
#include <string.h>
#include "common/log.h"

static void tell_broken(struct resume *resume, const char *broken, const char *reason)
{
    char quoted[3][PATH_MAX];
    snprintf(resume->note, sizeof(resume->note),
             "%.600s; going on from %.300s, which was written before it", reason, resume->path);
    log_event(LOG_WARN, "checkpoint_torn", "path=%s why=%s using=%s",
              log_quote(quoted[0], PATH_MAX, broken), log_quote(quoted[1], PATH_MAX, reason),
              log_quote(quoted[2], PATH_MAX, resume->path));
}

int resume_open(const char *dir, struct resume *resume_out, struct checkpoint_reader **reader_out,
                struct err_msg *why)
{
    char newest[PATH_MAX] = "";
    int newest_err = 0;
    *resume_out = (struct resume){0};
    for (size_t idx = 0;; idx++) {
        struct err_msg *reason = idx == 0 ? why : NULL;
        int err = checkpoint_candidate(dir, idx, resume_out->path, reason);
        if (err != 0)
            return idx == 0 ? err : newest_err;
        err = checkpoint_open(resume_out->path, reader_out, reason);
        if (err == 0)
            break;
        if (err != ERR_INPUT && err != ERR_NOT_FOUND)
            return err;
        if (idx == 0) {
            newest_err = err;
            memcpy(newest, resume_out->path, sizeof(newest));
        }
    }
    resume_out->step = checkpoint_info(*reader_out)->step;
    resume_out->early_stop = checkpoint_info(*reader_out)->early_stop;
    if (newest_err != 0)
        tell_broken(resume_out, newest, why->text);
    return 0;
}
