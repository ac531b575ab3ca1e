#ifndef DEPLOY_PLAN_SPEED_H
#define DEPLOY_PLAN_SPEED_H

/* speed - how fast this machine does what a job asks of workers and servers.
 *
 * Lanes are computed by worker/compute on the job's data, worker.threads of them at once.  Vectors
 * are rounded, packed, added and updated by the code that workers and servers have for it.
 *
 * Owner:    `talweg plan`.  Thread: the main thread; compute's own while lanes are measured.
 * Memory:   a worker's, for the call.
 * Surprise: speed_lane lasts as long as it was asked to, and a lane more.
 */
#include "deploy/plan/study.h"

/* When in a lane each tensor is first read and its gradient complete: into the study's shares. */
MUST_USE int speed_profile(struct study *study, struct err_msg *why);

/* Seconds of a lane while all threads compute: the median. */
MUST_USE int speed_lane(const struct study *study, double seconds, double *lane_s_out,
                        struct err_msg *why);

/* All else of a plan_speed.  ERR_NOMEM with a sentence. */
MUST_USE int speed_costs(const struct study *study, struct plan_speed *out, struct err_msg *why);

#endif
