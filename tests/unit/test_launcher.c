#include "common/launcher.h"

#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit.h"

static void clear_environment(void)
{
    static const char *const names[] = {
        "SLURM_PROCID", "SLURM_ARRAY_TASK_ID", "SLURM_STEP_NUM_TASKS", "SLURM_CPUS_PER_TASK",
        "PMI_RANK",     "PMI_SIZE",            "PMIX_RANK",            "OMPI_COMM_WORLD_RANK",
        "KUBERNETES_SERVICE_HOST"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unsetenv(names[i]);
}

static int rank(void)
{
    struct launcher_place place;
    int err = launcher_read(&place, NULL);
    return err == 0 ? place.rank : err;
}

static void test_launcher_says_nothing_when_there_is_none(void)
{
    struct launcher_place place;
    clear_environment();
    setenv("SLURM_PROCID", "", 1);
    setenv("SLURM_CPUS_PER_TASK", "4", 1); /* of an allocation, but srun has not started this */
    CU_ASSERT_EQUAL(launcher_read(&place, NULL), 0);
    CU_ASSERT_EQUAL(place.rank, -1);
    CU_ASSERT_PTR_NULL(place.cores);
}

static void test_launcher_takes_rank_and_cores_of_srun(void)
{
    struct launcher_place place;
    clear_environment();
    setenv("SLURM_PROCID", "5", 1);
    setenv("SLURM_STEP_NUM_TASKS", "8", 1);
    setenv("SLURM_CPUS_PER_TASK", "4", 1);
    CU_ASSERT_EQUAL_FATAL(launcher_read(&place, NULL), 0);
    CU_ASSERT_EQUAL(place.rank, 5);
    CU_ASSERT_STRING_EQUAL(place.cores, "4");
    setenv("PMI_RANK", "5", 1); /* srun --mpi=pmi2 */
    setenv("PMI_SIZE", "8", 1);
    CU_ASSERT_EQUAL(rank(), 5);
}

static void test_launcher_numbers_the_tasks_of_a_job_array_on(void)
{
    struct err_msg why;
    struct launcher_place place;
    clear_environment();
    setenv("SLURM_PROCID", "1", 1);
    setenv("SLURM_ARRAY_TASK_ID", "3", 1);
    CU_ASSERT_EQUAL(rank(), 4);
    setenv("SLURM_STEP_NUM_TASKS", "2", 1);
    CU_ASSERT_EQUAL(rank(), 7);
    setenv("SLURM_ARRAY_TASK_ID", "600", 1);
    CU_ASSERT_EQUAL(launcher_read(&place, &why), ERR_INPUT);
    CU_ASSERT_STRING_EQUAL(why.text, "SLURM_ARRAY_TASK_ID: found 600, with 2 processes in each "
                                     "task of the array, expected ranks up to 1023");
    setenv("SLURM_ARRAY_TASK_ID", "x", 1);
    CU_ASSERT_EQUAL(launcher_read(&place, &why), ERR_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(why.text, "SLURM_ARRAY_TASK_ID: found \"x\", expected"));
}

/* mpirun starts its daemons by srun, one a node, and what they start sees Slurm's variables. */
static void test_launcher_prefers_mpi_within_slurm(void)
{
    clear_environment();
    setenv("OMPI_COMM_WORLD_RANK", "4", 1);
    CU_ASSERT_EQUAL(rank(), 4);
    setenv("SLURM_PROCID", "1", 1);
    setenv("SLURM_STEP_NUM_TASKS", "2", 1);
    CU_ASSERT_EQUAL(rank(), 4);
    unsetenv("OMPI_COMM_WORLD_RANK");
    setenv("PMI_RANK", "6", 1);
    setenv("PMI_SIZE", "8", 1);
    CU_ASSERT_EQUAL(rank(), 6);
    unsetenv("SLURM_STEP_NUM_TASKS"); /* a batch script, whose mpirun needs no srun */
    CU_ASSERT_EQUAL(rank(), 6);
}

static void test_launcher_reads_the_ordinal_of_a_host(void)
{
    CU_ASSERT_EQUAL(launcher_ordinal("talweg-worker-12"), 12);
    CU_ASSERT_EQUAL(launcher_ordinal("worker-0"), 0);
    CU_ASSERT_EQUAL(launcher_ordinal("worker"), -1);
    CU_ASSERT_EQUAL(launcher_ordinal("worker-"), -1);
    CU_ASSERT_EQUAL(launcher_ordinal("worker-x2"), -1);
    CU_ASSERT_EQUAL(launcher_ordinal("worker-5f8-99999999999999999999"), -1);
    CU_ASSERT_EQUAL(launcher_ordinal(""), -1);
}

#define TESTS(X) \
    X(test_launcher_says_nothing_when_there_is_none) \
    X(test_launcher_takes_rank_and_cores_of_srun) \
    X(test_launcher_numbers_the_tasks_of_a_job_array_on) \
    X(test_launcher_prefers_mpi_within_slurm) \
    X(test_launcher_reads_the_ordinal_of_a_host)

UNIT_MAIN("launcher", TESTS)
