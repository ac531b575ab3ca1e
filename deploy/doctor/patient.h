#ifndef DEPLOY_DOCTOR_PATIENT_H
#define DEPLOY_DOCTOR_PATIENT_H

/* patient - what `talweg doctor` looks at: this machine in one role of one job, and what was found
 * out about it so far.
 *
 * Owner:    cmd_doctor.  Thread: one.
 * Memory:   settings, launch and status, which patient_release frees.
 * Surprise: the role's own code reads flags, environment and job file, so that what is checked is
 *           what the role will do.
 */
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/document.h"
#include "common/launch.h"
#include "deploy/doctor/data_look.h"
#include "deploy/doctor/findings.h"
#include "deploy/doctor/need.h"
#include "deploy/doctor/load.h"

/* ROLE_ALL: every role on this machine, as `talweg train` starts them. */
enum patient_role { ROLE_ALL, ROLE_COORDINATOR, ROLE_SERVER, ROLE_WORKER };

struct patient_spec {
    const char *job, *coordinator, *bind, *advertise, *rank, *out; /* NULL: not given */
    bool has_role;
    enum patient_role role;
    size_t set_count;
    const char *sets[LAUNCH_SETS_MAX];
};

struct patient {
    const struct patient_spec *spec;
    enum patient_role role;
    uint64_t begin_ms, end_ms; /* no check goes on past end_ms */
    struct settings *settings; /* NULL: the job file is no good */
    bool has_launch;           /* launch is parsed; it must be released */
    bool is_launch_good;       /* and its addresses are as they should be */
    struct launch launch;      /* not for ROLE_ALL */
    char run_endpoint[LAUNCH_ENDPOINT_BYTES]; /* where the run's coordinator is asked; "" */
    char keys[PATH_MAX];       /* folder of keys; "": none */
    bool is_here;              /* somebody of ours answers there */
    bool has_their_keys;       /* and wants keys */
    struct document *status;   /* what it said; NULL */
    double round_trip_ms, clock_ahead_ms, clock_error_ms; /* of the coordinator's clock */
    struct data_look data;
    struct model_size size;
    struct load load;
};

/* Job file, addresses, role.  What is wrong with them is found; only settings may then be NULL. */
void patient_open(struct patient *patient, const struct patient_spec *spec,
                  struct findings *findings);
void patient_release(struct patient *patient);

bool patient_is(const struct patient *patient, enum patient_role role); /* that, or all */

/* At most wish_ms, and not past the patient's end. */
unsigned patient_time(const struct patient *patient, unsigned wish_ms);

/* Members of the run on this host, by its status; 0 without one. */
struct members_here {
    uint64_t count, threads, rss_bytes;
};
struct members_here patient_members(const struct patient *patient);

/* "coordinator", "server", ...; static. */
const char *patient_role_text(enum patient_role role);

/* "1.5 GiB" in a place of the caller's. */
enum { BYTES_TEXT = 32 };
const char *bytes_text(uint64_t bytes, char text[BYTES_TEXT]);

#endif
