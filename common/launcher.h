#ifndef COMMON_LAUNCHER_H
#define COMMON_LAUNCHER_H

/* launcher - what the program that started this process says of its place: Slurm's srun, an MPI
 * launcher, or Kubernetes.
 *
 * Owner:    launch.  Thread: before any other starts: it reads the environment.
 * Source:   srun(1), Output environment variables; sbatch(1); mpirun(1) of Open MPI; PMI.
 * Surprise: none.
 */
#include "common/err.h"

enum { LAUNCHER_RANK_MAX = 1023 };

struct launcher_place {
    int rank;          /* among the processes of its role; -1: nothing is said */
    const char *cores; /* to compute on, as SLURM_CPUS_PER_TASK says; NULL: nothing is; static */
};

/* Under srun: SLURM_PROCID, behind the tasks of the job array's tasks before this one.  Under
 * mpirun, in a Slurm allocation too: its rank.  In Kubernetes: the ordinal of a StatefulSet's pod.
 * ERR_INPUT with a sentence. */
MUST_USE int launcher_read(struct launcher_place *place_out, struct err_msg *why);

/* A rank as text; origin names where it was found.  ERR_INPUT with a sentence. */
MUST_USE int launcher_rank(const char *origin, const char *text, int *rank_out,
                           struct err_msg *why);

/* The n of a name like "worker-n", as a StatefulSet of Kubernetes gives; -1 if there is none. */
int launcher_ordinal(const char *host_name);

/* An environment variable that is set and not empty, or NULL. */
const char *launcher_variable(const char *name);

#endif
