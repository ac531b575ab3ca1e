#include "common/launcher.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HOST_BYTES = 256 };

const char *launcher_variable(const char *name)
{
    const char *text = getenv(name);
    return text == NULL || text[0] == '\0' ? NULL : text;
}

int launcher_rank(const char *origin, const char *text, int *rank_out, struct err_msg *why)
{
    char *end = NULL;
    errno = 0;
    long rank = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || rank < 0 || rank > LAUNCHER_RANK_MAX)
        return err_set(why, ERR_INPUT, "%s: found \"%.60s\", expected a whole number from 0 to %d",
                       origin, text, LAUNCHER_RANK_MAX);
    *rank_out = (int)rank;
    return 0;
}

int launcher_ordinal(const char *host_name)
{
    const char *dash = strrchr(host_name, '-');
    if (dash == NULL || dash[1] == '\0')
        return -1;
    size_t digits = strspn(dash + 1, "0123456789");
    if (dash[1 + digits] != '\0' || digits > 4)
        return -1;
    long ordinal = strtol(dash + 1, NULL, 10);
    return ordinal > LAUNCHER_RANK_MAX ? -1 : (int)ordinal;
}

/* A variable's number; left as it is when the variable is not set. */
static int read_number(const char *name, int *number_out, struct err_msg *why)
{
    const char *text = launcher_variable(name);
    return text == NULL ? 0 : launcher_rank(name, text, number_out, why);
}

static int read_slurm(struct launcher_place *place, struct err_msg *why)
{
    int task = 0, array_task = 0, task_count = 1;
    int err = read_number("SLURM_PROCID", &task, why);
    if (err == 0)
        err = read_number("SLURM_ARRAY_TASK_ID", &array_task, why);
    if (err == 0)
        err = read_number("SLURM_STEP_NUM_TASKS", &task_count, why);
    if (err != 0)
        return err;
    int rank = array_task * task_count + task;
    if (rank > LAUNCHER_RANK_MAX)
        return err_set(why, ERR_INPUT, "SLURM_ARRAY_TASK_ID: found %d, with %d processes in each "
                       "task of the array, expected ranks up to %d",
                       array_task, task_count, LAUNCHER_RANK_MAX);
    place->rank = rank;
    place->cores = launcher_variable("SLURM_CPUS_PER_TASK");
    return 0;
}

/* srun starts the daemons of an MPI launcher within an allocation, and their children see its
 * variables; srun may give PMI's to its own tasks, too, then of as many. */
static bool is_of_slurm(void)
{
    const char *mpi_tasks = launcher_variable("PMI_SIZE");
    const char *tasks = launcher_variable("SLURM_STEP_NUM_TASKS");
    if (launcher_variable("SLURM_PROCID") == NULL ||
        launcher_variable("OMPI_COMM_WORLD_RANK") != NULL)
        return false;
    return mpi_tasks == NULL || (tasks != NULL && strcmp(tasks, mpi_tasks) == 0);
}

int launcher_read(struct launcher_place *place_out, struct err_msg *why)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"};
    char host[HOST_BYTES] = "";
    *place_out = (struct launcher_place){.rank = -1};
    if (is_of_slurm())
        return read_slurm(place_out, why);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (launcher_variable(names[i]) != NULL)
            return read_number(names[i], &place_out->rank, why);
    if (launcher_variable("KUBERNETES_SERVICE_HOST") != NULL &&
        gethostname(host, sizeof(host) - 1) == 0)
        place_out->rank = launcher_ordinal(host);
    return 0;
}
