#include "ps/admission.h"

#include <inttypes.h>
#include <string.h>
#include "common/endpoint.h"

void admission_free(struct admission *admission)
{
    layout_destroy(admission->layout);
    admission->layout = NULL;
}

void admission_settle(struct admission *admission)
{
    admission->is_settled = true;
}

static int adopt_model(struct admission *admission, const struct hello *hello,
                       struct err_msg *why)
{
    if (hello->layout == NULL || hello->train_count == 0)
        return err_set(why, ERR_REFUSED, "a worker must say its model and its samples");
    if (admission->is_settled)
        return 0;
    admission_free(admission); /* of one that found no place */
    admission->train_count = hello->train_count;
    admission->test_count = hello->test_count;
    return layout_create(hello->layout->tensors, hello->layout->tensor_count,
                         admission->settings->exchange.block_bytes, &admission->layout, why);
}

static int check_model(const struct admission *admission, const struct hello *hello,
                       struct err_msg *why)
{
    char mine[HEX_BYTES], theirs[HEX_BYTES];
    if (hello->layout->block_bytes != admission->layout->block_bytes)
        return err_set(why, ERR_REFUSED,
                       "its exchange.block_bytes is %" PRIu32 ", the coordinator's %" PRIu32
                       ": give all processes the same file and the same --set",
                       hello->layout->block_bytes, admission->layout->block_bytes);
    if (layout_digest(admission->layout, mine) != 0 || layout_digest(hello->layout, theirs) != 0)
        return err_set(why, ERR_NOMEM, "no memory for a digest");
    if (strcmp(mine, theirs) != 0)
        return err_set(why, ERR_REFUSED, "its model has other tensors than the first worker's");
    if (hello->train_count != admission->train_count ||
        hello->test_count != admission->test_count)
        return err_set(why, ERR_REFUSED,
                       "its data has %" PRIu64 " training and %" PRIu64
                       " test samples, the first worker's %" PRIu64 " and %" PRIu64,
                       hello->train_count, hello->test_count, admission->train_count,
                       admission->test_count);
    return 0;
}

int admission_check(struct admission *admission, struct address from, const struct hello *hello,
                    struct err_msg *why)
{
    const struct settings *settings = admission->settings;
    if (strcmp(hello->version, TALWEG_VERSION) != 0)
        return err_set(why, ERR_REFUSED, "it is Talweg %s, the coordinator is %s", hello->version,
                       TALWEG_VERSION);
    if (strcmp(hello->fingerprint, admission->fingerprint) != 0)
        return err_set(why, ERR_REFUSED,
                       "its job file says another job (settings %.12s) than the coordinator's "
                       "(%.12s): give all processes the same file and the same --set",
                       hello->fingerprint, admission->fingerprint);
    if (from.party == PARTY_SHARD && endpoint_check_peer(hello->endpoint, why) != 0)
        return err_prefix(why, ERR_REFUSED, "nobody could reach it: ");
    if (from.party == PARTY_SHARD && hello->shard_count != settings->cluster.shards)
        return err_set(why, ERR_REFUSED,
                       "it runs %" PRIu32 " shards, cluster.shards is %" PRIu32
                       " for the coordinator: give all processes the same file and the same --set",
                       hello->shard_count, settings->cluster.shards);
    if (from.party != PARTY_WORKER)
        return 0;
    int err = adopt_model(admission, hello, why);
    return err != 0 ? err : check_model(admission, hello, why);
}
