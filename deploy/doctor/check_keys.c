#include "deploy/doctor/checks.h"

#include <string.h>
#include "common/clock.h"
#include "common/endpoint.h"
#include "common/keyring.h"
#include "common/random.h"
#include "common/transport.h"
#include "deploy/status_client.h"

enum { LET_IN_MS = 1500, LOOK_MS = 50, HAS_WAITED_MS = 500 };

static bool listens_to_others(const struct patient *patient)
{
    const char *bind = patient->launch.bind;
    return patient->is_launch_good && bind[0] && !endpoint_ipc_path(bind) &&
           strncmp(bind, "tcp://127.", strlen("tcp://127.")) != 0 &&
           strncmp(bind, "tcp://[::1]", strlen("tcp://[::1]")) != 0;
}

static void check_none(const struct patient *patient, struct findings *findings)
{
    if (patient->is_here && patient->has_their_keys) {
        findings_say(findings, FAMILY_KEYS, FINDING_ERROR, "%s asks for a key, and here is none",
                     patient->run_endpoint);
        findings_why(findings, "Only those on its list of keys are let in.");
        findings_do(findings, "Give --keys DIR, with `allowed` and this role's key of the folder "
                              "that `talweg keygen` made.");
        return;
    }
    if (listens_to_others(patient)) {
        findings_say(findings, FAMILY_KEYS, FINDING_WARNING, "no keys (cluster.insecure is true)");
        findings_why(findings, "Whoever reaches that network can join the run and read what is "
                               "sent.");
        findings_do(findings, "talweg keygen --out DIR, and --keys DIR for every process.");
        return;
    }
    findings_say(findings, FAMILY_KEYS, FINDING_OK, "no keys, and none are asked for");
}

/* Opens the role's keys and says how that went; NULL when there are none to be had. */
static struct keyring *open_ring(const struct patient *patient, enum key_role role,
                                 struct findings *findings)
{
    struct keyring *ring = NULL;
    struct err_msg why = {0};
    int rank = patient->has_launch ? patient->launch.rank : -1;
    if (keyring_open(patient->keys, role, rank, &ring, &why) != 0) {
        findings_say(findings, FAMILY_KEYS, FINDING_ERROR, "%s", why.text);
        findings_why(findings, "A %s would end with this sentence.", key_role_name(role));
        return NULL;
    }
    findings_say(findings, FAMILY_KEYS, FINDING_OK, "the key %s is on the list of %zu in %s",
                 keyring_own(ring)->name, keyring_allowed_count(ring), patient->keys);
    return ring;
}

static void compare_lists(const struct patient *patient, const struct keyring *ring,
                          struct findings *findings)
{
    char own[DIGEST_HEX_BYTES];
    const struct document *keys = document_get(patient->status, "keys");
    const char *theirs = status_text(keys, "digest", "");
    if (!*theirs || keyring_digest(ring, own) != 0)
        return;
    if (strcmp(own, theirs) == 0) {
        findings_say(findings, FAMILY_KEYS, FINDING_OK, "the coordinator has the same list");
        return;
    }
    findings_say(findings, FAMILY_KEYS, FINDING_WARNING,
                 "the list here has %zu keys, the coordinator's another %llu",
                 keyring_allowed_count(ring),
                 (unsigned long long)status_whole(keys, "allowed"));
    findings_why(findings, "Who is on one of them alone is let in there and refused elsewhere.");
    findings_do(findings, "Copy one `allowed` to all machines; it is read again within a second.");
}

/* Whether the coordinator lets a process of this role in.  Consumes the ring. */
static void try_door(const struct patient *patient, struct keyring *ring, enum party party,
                     struct findings *findings)
{
    struct transport *transport = NULL;
    struct channel *channel = NULL;
    struct err_msg why = {0};
    struct ready ready;
    struct ends ends = {{party, 0}, PARTY_COORDINATOR};
    const char *name = keyring_own(ring)->name;
    if (random_bytes(&ends.self.id, sizeof(ends.self.id)) != 0 ||
        transport_create(1, &transport) != 0) {
        keyring_close(ring);
        return;
    }
    transport_use_keys(transport, ring);
    int err = channel_connect(transport, patient->run_endpoint, ends, &channel, &why);
    uint64_t begin_ms = clock_now_ms(), end_ms = begin_ms + patient_time(patient, LET_IN_MS);
    while (err == 0 && !channel_is_let_in(channel) && clock_now_ms() < end_ms) {
        err = transport_wait(&channel, 1, -1, LOOK_MS, &ready);
        if (err == 0)
            err = channel_refusal(channel, clock_now_ms() - begin_ms > HAS_WAITED_MS, &why);
    }
    if (err == 0 && channel_is_let_in(channel)) {
        findings_say(findings, FAMILY_KEYS, FINDING_OK, "the coordinator lets %s in", name);
    } else if (err == ERR_REFUSED) {
        findings_say(findings, FAMILY_KEYS, FINDING_ERROR, "%s", why.text);
        findings_why(findings, "The process would end with this sentence.");
        findings_do(findings, "Add its line of `allowed` here to the coordinator's; all read it "
                              "again within a second.");
    } else {
        findings_say(findings, FAMILY_KEYS, FINDING_UNCHECKED,
                     "whether the coordinator lets %s in: it did not say in time", name);
    }
    channel_destroy(channel);
    transport_destroy(transport);
}

static void check_role(const struct patient *patient, enum key_role role, struct findings *findings)
{
    struct keyring *ring = open_ring(patient, role, findings);
    if (!ring)
        return;
    compare_lists(patient, ring, findings);
    bool is_member = role == KEY_SERVER || role == KEY_WORKER;
    if (is_member && patient->is_here && patient->has_their_keys)
        try_door(patient, ring, role == KEY_SERVER ? PARTY_SHARD : PARTY_WORKER, findings);
    else
        keyring_close(ring);
}

void check_keys(struct patient *patient, struct findings *findings)
{
    if (!patient->keys[0]) {
        check_none(patient, findings);
        return;
    }
    if (patient->is_here && !patient->has_their_keys) {
        findings_say(findings, FAMILY_KEYS, FINDING_ERROR, "%s speaks without keys, this has some",
                     patient->run_endpoint);
        findings_why(findings, "Both ends have keys, or neither.");
        findings_do(findings, "Start the coordinator with --keys as well.");
    }
    if (patient_is(patient, ROLE_COORDINATOR))
        check_role(patient, KEY_COORDINATOR, findings);
    if (patient_is(patient, ROLE_SERVER))
        check_role(patient, KEY_SERVER, findings);
    if (patient_is(patient, ROLE_WORKER))
        check_role(patient, KEY_WORKER, findings);
}
