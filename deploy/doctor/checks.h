#ifndef DEPLOY_DOCTOR_CHECKS_H
#define DEPLOY_DOCTOR_CHECKS_H

/* checks - the families of findings, a file each.  They go in this order, since later ones use what
 * earlier ones found out.
 *
 * Owner:    cmd_doctor.  Thread: one.
 * Surprise: check_run fills in the patient's status.
 */
#include "deploy/doctor/patient.h"

void check_names(struct patient *patient, struct findings *findings);

/* Whether the coordinator answers, and whether it is of this job, version and time. */
void check_run(struct patient *patient, struct findings *findings);

/* Whether the role has a key, and it fits the run's. */
void check_keys(struct patient *patient, struct findings *findings);

/* Whether the role's sockets can be bound, and others can reach them. */
void check_addresses(struct patient *patient, struct findings *findings);

/* From here to each shard: does it answer, how fast, how much. */
void check_servers(struct patient *patient, struct findings *findings);

void check_cores(struct patient *patient, struct findings *findings);
void check_memory(struct patient *patient, struct findings *findings);
void check_disk(struct patient *patient, struct findings *findings);
void check_limits(struct patient *patient, struct findings *findings);
void check_data(struct patient *patient, struct findings *findings);

#endif
