/* Short texts from elsewhere: endpoints, routing ids, what a launcher puts into the environment.
 *
 * Input: which (1 byte), then the text. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include "common/address.h"
#include "common/endpoint.h"
#include "common/launch.h"
#include "common/launcher.h"
#include "common/log.h"

enum { TEXT_BYTES = 1024 };

static void try_endpoint(const char *text)
{
    char copy[TEXT_BYTES];
    struct err_msg why = {0};
    int err = endpoint_check(text, &why);
    if (err != 0)
        must_say(why.text);
    must(endpoint_check_peer(text, &why) != 0 || err == 0);
    snprintf(copy, sizeof(copy), "%s", text);
    endpoint_unmap(copy);
    must(strlen(copy) <= strlen(text));
    if (err != 0)
        return;
    must(endpoint_check(copy, &why) == 0);
    must(endpoint_bind_failed(text, EADDRINUSE, "taken", &why) < 0);
}

static void try_address(const char *text, size_t size)
{
    struct address address;
    char again[ADDRESS_TEXT_BYTES + 1];
    if (!address_parse(text, size, &address))
        return;
    must(address_is_wire(address));
    address_format(address, again);
    must(size == ADDRESS_TEXT_BYTES && memcmp(again, text, size) == 0);
}

static void try_advertised(struct launch *launch, const char *text)
{
    char endpoint[LAUNCH_ENDPOINT_BYTES];
    struct err_msg why = {0};
    snprintf(launch->bind, sizeof(launch->bind), "%s", text);
    if (endpoint_check(launch->bind, &why) != 0)
        return;
    for (uint32_t idx = 0; idx < 2; idx++) {
        if (launch_bind_endpoint(launch, idx, endpoint, &why) == 0)
            must(memchr(endpoint, 0, sizeof(endpoint)) != NULL);
        if (launch_advertised(launch, launch->bind, idx, endpoint, &why) == 0)
            must(memchr(endpoint, 0, sizeof(endpoint)) != NULL);
    }
}

static void try_launch(uint8_t which, const char *text)
{
    static const char *const names[] = {"TALWEG_COORDINATOR", "TALWEG_BIND", "TALWEG_ADVERTISE",
                                        "TALWEG_RANK", "SLURM_PROCID", "PMI_RANK",
                                        "SLURM_ARRAY_TASK_ID", "SLURM_STEP_NUM_TASKS",
                                        "SLURM_CPUS_PER_TASK"};
    char program[] = "talweg", job[] = "job.cfg", *args[] = {program, job, NULL};
    const char *name = names[which % ARRAY_LEN(names)];
    struct launch launch;
    struct err_msg why = {0};
    setenv("SLURM_PROCID", "1", 1); /* else the others of Slurm say nothing */
    setenv(name, text, 1);
    int err = launch_parse((enum launch_role)(which / 8 % 3), 2, args, &launch, &why);
    if (err != 0)
        must_say(why.text);
    if (err == 0)
        try_advertised(&launch, text);
    launch_release(&launch);
    unsetenv(name);
    unsetenv("SLURM_PROCID");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct feed feed = {data, data + size};
    char text[TEXT_BYTES] = "", quoted[64];
    uint8_t which = feed_u8(&feed);
    size_t bytes = feed_left(&feed) < TEXT_BYTES ? feed_left(&feed) : TEXT_BYTES - 1;
    memcpy(text, feed.at, bytes);
    try_endpoint(text);
    try_address((const char *)feed.at, bytes);
    must(launcher_ordinal(text) >= -1);
    must(strlen(log_quote(quoted, sizeof(quoted), text)) < sizeof(quoted));
    try_launch(which, text);
    return 0;
}
