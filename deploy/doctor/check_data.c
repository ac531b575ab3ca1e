#include "deploy/doctor/checks.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* True when each file that the job names can be opened. */
static bool check_files(const struct patient *patient, struct findings *findings)
{
    const struct settings *settings = patient->settings;
    const struct {
        const char *setting, *path;
    } files[] = {{"data.train_inputs", settings->data.train_inputs},
                 {"data.train_labels", settings->data.train_labels},
                 {"data.test_inputs", settings->data.test_inputs},
                 {"data.test_labels", settings->data.test_labels}};
    bool is_good = true;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        int fd = files[i].path[0] ? open(files[i].path, O_RDONLY | O_CLOEXEC) : 0;
        if (fd > 0)
            close(fd);
        if (fd >= 0)
            continue;
        int error = errno;
        is_good = false;
        findings_say(findings, FAMILY_DATA, FINDING_ERROR, "%s: %s", files[i].path,
                     strerror(error));
        findings_why(findings, "%s names it, and a worker reads it where it runs.",
                     files[i].setting);
        findings_do(findings, error == EACCES
                                  ? "Let the user who runs the worker read it."
                                  : "Copy it here, mount it, or --set %s=PATH for this machine.",
                    files[i].setting);
    }
    return is_good;
}

static void tell(const struct data_look *look, struct findings *findings)
{
    switch (look->state) {
    case DATA_GOOD:
        findings_say(findings, FAMILY_DATA, FINDING_OK,
                     "%llu training and %llu test samples, %llu numbers each, read in %.1f s",
                     (unsigned long long)look->train_count, (unsigned long long)look->test_count,
                     (unsigned long long)look->input_count, (double)look->took_ms / 1000);
        findings_say(findings, FAMILY_DATA, FINDING_OK, "the model fits them: %llu weights",
                     (unsigned long long)look->weight_count);
        return;
    case DATA_BAD:
        findings_say(findings, FAMILY_DATA, FINDING_ERROR, "%s", look->why);
        findings_why(findings, look->is_model ? "The model does not fit the data: no worker starts."
                                              : "A worker would end with this sentence.");
        return;
    case DATA_BROKEN:
        findings_say(findings, FAMILY_DATA, FINDING_ERROR, "reading the data broke off: %s",
                     look->why);
        findings_why(findings, "A worker would end so, too: most often memory is short.");
        findings_do(findings, "Set data.memory_bytes lower; see the kernel's log (dmesg).");
        return;
    default:
        findings_say(findings, FAMILY_DATA, FINDING_UNCHECKED,
                     "whether the data can be read to its end: that takes some seconds more");
        findings_why(findings, "The files are there.  A worker reads on; others wait for it up to "
                               "cluster.wait_s.");
    }
}

void check_data(struct patient *patient, struct findings *findings)
{
    if (!patient_is(patient, ROLE_WORKER)) {
        findings_say(findings, FAMILY_DATA, FINDING_OK, "a %s reads no data",
                     patient_role_text(patient->role));
        return;
    }
    if (check_files(patient, findings))
        tell(&patient->data, findings);
}
