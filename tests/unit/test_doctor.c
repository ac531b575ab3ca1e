#include "deploy/doctor/findings.h"

#include <string.h>
#include "common/document.h"
#include "deploy/doctor/cgroup.h"
#include "deploy/doctor/need.h"
#include "tests/unit/scratch.h"
#include "tests/unit/unit.h"

enum { TEXT_BYTES = 4096 };

static void print(const struct findings *findings, size_t columns, char text_out[TEXT_BYTES])
{
    memset(text_out, 0, TEXT_BYTES);
    FILE *out = fmemopen(text_out, TEXT_BYTES - 1, "w");
    CU_ASSERT_FATAL(out != NULL);
    findings_print(findings, out, columns, false);
    fclose(out);
}

static void test_findings_print_by_family_with_reason_and_advice(void)
{
    struct findings *findings = findings_create();
    findings_say(findings, FAMILY_DATA, FINDING_OK, "%d samples", 7);
    findings_say(findings, FAMILY_NAMES, FINDING_ERROR, "%s does not resolve", "head");
    findings_why(findings, "It is looked for.");
    findings_do(findings, "Give the number.");
    char text[TEXT_BYTES];
    print(findings, 80, text);
    CU_ASSERT_STRING_EQUAL(text, "names\n"
                                 "  ERROR    head does not resolve\n"
                                 "           It is looked for.\n"
                                 "        -> Give the number.\n"
                                 "data\n"
                                 "  ok       7 samples\n");
    CU_ASSERT(findings_worst(findings) == FINDING_ERROR);
    CU_ASSERT(findings_count(findings, FINDING_OK) == 1 && !findings_is_short(findings));
    findings_destroy(findings);
}

static void test_findings_wrap_lines_and_keep_words_whole(void)
{
    struct findings *findings = findings_create();
    findings_say(findings, FAMILY_JOB, FINDING_NOTE,
                 "one two three four five six seven "
                 "/a/path/that/is/longer/than/the/line/is/wide eight\x1b[2J");
    char text[TEXT_BYTES];
    print(findings, 40, text);
    size_t line_bytes;
    for (const char *line = strchr(text, '\n') + 1; *line; line += line_bytes + 1) {
        line_bytes = strcspn(line, "\n");
        CU_ASSERT(line_bytes <= 40 || strchr(line, '/') != NULL);
    }
    CU_ASSERT(strstr(text, "/a/path/that/is/longer/than/the/line/is/wide\n") != NULL);
    CU_ASSERT(strchr(text, '\x1b') == NULL); /* what a peer says cannot steer the terminal */
    findings_destroy(findings);
}

static void test_findings_are_the_same_as_json(void)
{
    static const char *const expected[] = {"names", "warning", "w", "y", "d"};
    static const char *const keys[] = {"family", "level", "what", "why", "do"};
    struct findings *findings = findings_create();
    findings_say(findings, FAMILY_NAMES, FINDING_WARNING, "w");
    findings_why(findings, "y");
    findings_do(findings, "d");
    struct document *rows = findings_document(findings);
    CU_ASSERT_FATAL(document_count(rows) == 1);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *text = "";
        CU_ASSERT(document_get_text(document_at(rows, 0), keys[i], &text, NULL) == 0);
        CU_ASSERT_STRING_EQUAL(text, expected[i]);
    }
    document_destroy(rows);
    findings_destroy(findings);
}

static void make_folder(const char *root, const char *path)
{
    CU_ASSERT_FATAL(mkdir(scratch_path(root, path), 0755) == 0);
}

static void put(const char *root, const char *path, const char *text)
{
    scratch_write(scratch_path(root, path), text, strlen(text));
}

static void test_cgroup_takes_the_least_on_the_way_up(void)
{
    char root[PATH_MAX];
    scratch_make(root);
    make_folder(root, "a");
    make_folder(root, "a/b");
    put(root, "a/memory.max", "1000000\n");
    put(root, "a/memory.current", "600000\n");
    put(root, "a/memory.stat", "anon 1\ninactive_file 100000\nactive_file 3\n");
    put(root, "a/b/memory.max", "2000000\n"); /* more than the one above lets it have */
    put(root, "a/b/memory.current", "7\n");
    put(root, "a/cpu.max", "max 100000\n");
    put(root, "a/b/cpu.max", "150000 100000\n");
    put(root, "a/b/cpu.stat", "usage_usec 5\nnr_periods 9\nnr_throttled 4\n");
    struct cgroup group = cgroup_read(root, "0::/a/b\n");
    CU_ASSERT_DOUBLE_EQUAL(group.cores, 1.5, 0);
    CU_ASSERT(group.memory_bytes == 1000000 && group.used_bytes == 500000);
    CU_ASSERT(group.throttled_count == 4 && group.period_count == 9);
    group = cgroup_read(root, "0::/a\n");
    CU_ASSERT(group.cores == 0 && group.memory_bytes == 1000000);
    put(root, "a/b/memory.max", "5000\n");
    CU_ASSERT(cgroup_read(root, "0::/a/b\n").used_bytes == 7);
    put(root, "a/b/memory.max", "max\n");
    CU_ASSERT(cgroup_read(root, "0::/a/b\n").memory_bytes == 1000000);
    scratch_remove(root);
}

static void test_cgroup_in_a_container_is_the_mount(void)
{
    char root[PATH_MAX];
    scratch_make(root);
    put(root, "cpu.max", "50000 100000\n");
    CU_ASSERT_DOUBLE_EQUAL(cgroup_read(root, "0::/docker/of/the/host\n").cores, 0.5, 0);
    CU_ASSERT_DOUBLE_EQUAL(cgroup_read(root, "0::/../elsewhere\n").cores, 0.5, 0);
    CU_ASSERT_DOUBLE_EQUAL(cgroup_read(root, "0::/\n").cores, 0.5, 0);
    scratch_remove(root);
}

static void test_cgroup_reads_version_1_too(void)
{
    char root[PATH_MAX];
    scratch_make(root);
    make_folder(root, "memory");
    make_folder(root, "cpu");
    put(root, "memory/memory.limit_in_bytes", "2000\n");
    put(root, "memory/memory.usage_in_bytes", "500\n");
    put(root, "cpu/cpu.cfs_quota_us", "-1\n");
    put(root, "cpu/cpu.cfs_period_us", "100000\n");
    struct cgroup group =
        cgroup_read(root, "5:cpuset:/x\n4:cpu,cpuacct:/x\n3:memory:/x\nnonsense\n2:\n");
    CU_ASSERT(group.memory_bytes == 2000 && group.used_bytes == 500 && group.cores == 0);
    put(root, "cpu/cpu.cfs_quota_us", "25000\n");
    put(root, "memory/memory.limit_in_bytes", "9223372036854771712\n");
    group = cgroup_read(root, "4:cpu,cpuacct:/x\n3:memory:/x\n");
    CU_ASSERT(group.memory_bytes == 0);
    CU_ASSERT_DOUBLE_EQUAL(group.cores, 0.25, 0);
    scratch_remove(root);
}

static struct settings plain_settings(void)
{
    struct settings settings = {0};
    settings.job.lanes = 8;
    settings.job.steps = 1000;
    settings.cluster.servers = 2;
    settings.cluster.workers = 2;
    settings.cluster.shards = 1;
    settings.worker.threads = 1;
    settings.exchange.credit_bytes = 32 << 20;
    settings.optimizer.kind = OPTIMIZER_SGD;
    return settings;
}

static void test_need_grows_with_state_copies_and_shrinks_with_servers(void)
{
    const struct model_size size = {.weight_count = 100 << 20};
    const uint64_t all = (uint64_t)400 << 20;
    struct settings settings = plain_settings();
    struct need sgd = need_of(&settings, &size);
    CU_ASSERT(sgd.checkpoint_bytes == all);
    CU_ASSERT(sgd.server_bytes >= all / 2 && sgd.server_bytes < all);
    settings.optimizer.kind = OPTIMIZER_ADAM;
    struct need adam = need_of(&settings, &size);
    CU_ASSERT(adam.checkpoint_bytes == 3 * all);
    CU_ASSERT(adam.server_bytes - sgd.server_bytes == all);
    CU_ASSERT(adam.worker_bytes == sgd.worker_bytes);
    settings.cluster.replicas = 1;
    CU_ASSERT(need_of(&settings, &size).server_bytes - adam.server_bytes == 3 * all / 2);
    settings.cluster.servers = 4;
    CU_ASSERT(need_of(&settings, &size).server_bytes == adam.server_bytes);
}

static void test_need_of_a_worker_has_vectors_activations_and_data(void)
{
    struct model_size size = {.weight_count = 1 << 20, .run_bytes = 1 << 20, .data_bytes = 5000};
    struct settings settings = plain_settings();
    settings.data.memory_bytes = 1000;
    uint64_t one = need_of(&settings, &size).worker_bytes;
    settings.worker.threads = 2;
    CU_ASSERT(need_of(&settings, &size).worker_bytes - one == ((8 << 20) + (1 << 20)));
    settings.data.memory_bytes = 3000;
    CU_ASSERT(need_of(&settings, &size).worker_bytes - one == ((8 << 20) + (1 << 20)) + 2000);
}

static void test_need_of_checkpoints_is_one_more_than_are_kept(void)
{
    struct settings settings = plain_settings();
    settings.checkpoint.keep = 3;
    CU_ASSERT(need_checkpoints(&settings) == 1); /* the last alone */
    settings.checkpoint.every = 10;
    CU_ASSERT(need_checkpoints(&settings) == 4);
    settings.checkpoint.keep = 0;
    CU_ASSERT(need_checkpoints(&settings) == 101);
    settings.job.steps = 0;
    CU_ASSERT(need_checkpoints(&settings) == 0);
    settings.checkpoint.every = 0;
    settings.job.patience = 3; /* each evaluation has one */
    CU_ASSERT(need_checkpoints(&settings) == 0);
    settings.checkpoint.keep = 2; /* those, the best, and one in the making */
    CU_ASSERT(need_checkpoints(&settings) == 4);
}

static void test_need_of_files_grows_with_the_members(void)
{
    struct settings settings = plain_settings();
    uint64_t few = need_files_server(&settings);
    settings.cluster.workers = 1000;
    CU_ASSERT(need_files_coordinator(&settings) > 1000 && need_files_coordinator(&settings) < 1200);
    CU_ASSERT(need_files_server(&settings) > few + 2 * 1000 - 100);
    CU_ASSERT(need_files_worker(&settings) < 100);
}

#define TESTS(X)                                                   \
    X(test_findings_print_by_family_with_reason_and_advice)        \
    X(test_findings_wrap_lines_and_keep_words_whole)               \
    X(test_findings_are_the_same_as_json)                          \
    X(test_cgroup_takes_the_least_on_the_way_up)                   \
    X(test_cgroup_in_a_container_is_the_mount)                     \
    X(test_cgroup_reads_version_1_too)                             \
    X(test_need_grows_with_state_copies_and_shrinks_with_servers)  \
    X(test_need_of_a_worker_has_vectors_activations_and_data)      \
    X(test_need_of_checkpoints_is_one_more_than_are_kept)          \
    X(test_need_of_files_grows_with_the_members)

UNIT_MAIN("doctor", TESTS)
